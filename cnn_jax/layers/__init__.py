"""The lecture's operators: pure functions, and a module where parameters are owned.

Sums are computed in float32 or wider, and outputs have the dtype of the input. Integers and
booleans are taken as floats, except where values are only moved and keep their dtype. What is not
finite is handed on. Arrays with other axes than annotated are a `ConfigError`.
"""

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
from cnn_jax.layers.batch_norm import BatchNorm, batch_norm, normalize_batch
from cnn_jax.layers.convolution import Conv, conv2d, depthwise_conv2d
from cnn_jax.layers.dropout import Dropout, SpatialDropout, dropout, spatial_dropout
from cnn_jax.layers.flatten import flatten
from cnn_jax.layers.gram import gram_matrix
from cnn_jax.layers.linear import Linear
from cnn_jax.layers.normalization import (
    GroupNorm,
    LayerNorm,
    group_norm,
    layer_norm,
    local_response_normalization,
)
from cnn_jax.layers.pooling import (
    adaptive_avg_pool,
    avg_pool,
    global_avg_pool,
    global_max_pool,
    max_pool,
    max_pool_with_indices,
)
from cnn_jax.layers.recurrent import GRU, LSTM, RNN
from cnn_jax.layers.recurrent_cells import LSTMState, gru_cell, lstm_cell, recur, rnn_cell
from cnn_jax.layers.resizing import resize_bilinear, resize_nearest, subsample
from cnn_jax.layers.transposed_convolution import ConvTranspose, conv_transpose2d
from cnn_jax.layers.unpooling import bed_of_nails, max_unpool
from cnn_jax.layers.whitening import whitening_kernel

__all__ = [
    "GRU",
    "LSTM",
    "RNN",
    "Activation",
    "BatchNorm",
    "Conv",
    "ConvTranspose",
    "Dropout",
    "GroupNorm",
    "LSTMState",
    "LayerNorm",
    "Linear",
    "SpatialDropout",
    "activation",
    "adaptive_avg_pool",
    "avg_pool",
    "batch_norm",
    "bed_of_nails",
    "conv2d",
    "conv_transpose2d",
    "depthwise_conv2d",
    "dropout",
    "elu",
    "flatten",
    "gelu",
    "global_avg_pool",
    "global_max_pool",
    "gram_matrix",
    "group_norm",
    "gru_cell",
    "layer_norm",
    "leaky_relu",
    "list_activations",
    "local_response_normalization",
    "lstm_cell",
    "max_pool",
    "max_pool_with_indices",
    "max_unpool",
    "normalize_batch",
    "recur",
    "relu",
    "resize_bilinear",
    "resize_nearest",
    "rnn_cell",
    "selu",
    "sigmoid",
    "silu",
    "softplus",
    "spatial_dropout",
    "subsample",
    "tanh",
    "whitening_kernel",
]
