"""A lecture on convolutional neural networks in JAX.

`cnn_jax.layers` holds the lecture's operators as pure functions, `cnn_jax.models` its
architectures as Flax modules. `tasks`, `data`, `training`, `pretrained` and `visual` are what an
experiment needs around them. Importing this package itself imports none of them.
"""

__version__ = "0.1.0"
