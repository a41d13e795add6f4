"""The lecture's operators: pure functions, and a module where parameters are owned."""

from cnn_jax.layers.activations import (
    Activation,
    activation,
    elu,
    gelu,
    leaky_relu,
    list_activations,
    relu,
    selu,
    sigmoid,
    silu,
    softplus,
    tanh,
)
from cnn_jax.layers.batch_norm import BatchNorm, normalize, normalize_batch
from cnn_jax.layers.convolution import Conv, conv2d
from cnn_jax.layers.dropout import Dropout, SpatialDropout, dropout, spatial_dropout
from cnn_jax.layers.gram import gram_matrix
from cnn_jax.layers.linear import Linear
from cnn_jax.layers.normalization import (
    GroupNorm,
    LayerNorm,
    group_norm,
    layer_norm,
    local_response_normalization,
)
from cnn_jax.layers.pooling import avg_pool, global_avg_pool, max_pool

__all__ = [
    "Activation",
    "BatchNorm",
    "Conv",
    "Dropout",
    "GroupNorm",
    "LayerNorm",
    "Linear",
    "SpatialDropout",
    "activation",
    "avg_pool",
    "conv2d",
    "dropout",
    "elu",
    "gelu",
    "global_avg_pool",
    "gram_matrix",
    "group_norm",
    "layer_norm",
    "leaky_relu",
    "list_activations",
    "local_response_normalization",
    "max_pool",
    "normalize",
    "normalize_batch",
    "relu",
    "selu",
    "sigmoid",
    "silu",
    "softplus",
    "spatial_dropout",
    "tanh",
]
