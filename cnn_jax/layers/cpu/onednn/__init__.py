"""oneDNN's operators under JAX: the extra `cpu`, for machines without an accelerator.

PyTorch computes convolutions on CPUs by oneDNN. Here the same library is called through XLA's
foreign function interface. It is optional: without its wheels, a C++ compiler or a supported
processor, and for what oneDNN does not take, XLA computes the layers.

`library` finds, compiles and loads. Each operator is a C++ file and the Python file of its name.
"""

from cnn_jax.layers.cpu.onednn.convolution import call, takes
from cnn_jax.layers.cpu.onednn.library import SWITCH, disabled, load, status

__all__ = ["SWITCH", "call", "disabled", "load", "status", "takes"]
