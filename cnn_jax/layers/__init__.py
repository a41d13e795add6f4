"""The lecture's operators: pure functions, and a module where parameters are owned."""

from cnn_jax.layers.activations import relu
from cnn_jax.layers.batch_norm import BatchNorm, normalize, normalize_batch
from cnn_jax.layers.convolution import Conv, conv2d
from cnn_jax.layers.linear import Linear
from cnn_jax.layers.pooling import avg_pool, global_avg_pool, max_pool

__all__ = [
    "BatchNorm",
    "Conv",
    "Linear",
    "avg_pool",
    "conv2d",
    "global_avg_pool",
    "max_pool",
    "normalize",
    "normalize_batch",
    "relu",
]
