"""oneDNN's operators under JAX: the extra `cpu`, for machines without an accelerator.

PyTorch computes convolutions on a CPU by oneDNN. Here the same library is called through XLA's
foreign function interface. It is never needed: without the wheels, a C++ compiler or a processor
that they were built for, and for what oneDNN does not take, `layers` compute by XLA.

`library` finds, compiles and loads; every operator is a C++ file and the Python file of its name.
"""

from cnn_jax.layers.cpu.onednn.convolution import convolve, kernel_gradient, spread, takes
from cnn_jax.layers.cpu.onednn.library import SWITCH, disabled, load, status

__all__ = ["SWITCH", "convolve", "disabled", "kernel_gradient", "load", "spread", "status", "takes"]
