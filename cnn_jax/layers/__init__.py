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
from cnn_jax.layers.anchors import (
    default_boxes,
    grid_anchors,
)
from cnn_jax.layers.batch_norm import BatchNorm, batch_norm, normalize_batch
from cnn_jax.layers.beam_search import beam_search
from cnn_jax.layers.boxes import (
    box_areas,
    box_giou,
    box_iou,
    clip_boxes,
    decode_boxes,
    encode_boxes,
    pairwise_giou,
    pairwise_iou,
    resize_boxes,
)
from cnn_jax.layers.convolution import Conv, conv2d, depthwise_conv2d
from cnn_jax.layers.dropout import Dropout, SpatialDropout, dropout, spatial_dropout
from cnn_jax.layers.flatten import flatten
from cnn_jax.layers.gram import gram_matrix
from cnn_jax.layers.linear import Linear
from cnn_jax.layers.matching import (
    match_anchors,
    match_every_truth,
    sample_balanced,
)
from cnn_jax.layers.nms import (
    non_maximum_suppression,
    soft_non_maximum_suppression,
)
from cnn_jax.layers.normalization import (
    GroupNorm,
    InstanceNorm,
    LayerNorm,
    adaptive_instance_norm,
    group_norm,
    instance_norm,
    instance_statistics,
    l2_normalize,
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
from cnn_jax.layers.resizing import (
    resize_bilinear,
    resize_from_corner,
    resize_nearest,
    resize_parts,
    subsample,
)
from cnn_jax.layers.roi import (
    pyramid_levels,
    pyramid_roi_align,
    roi_align,
    roi_pool,
)
from cnn_jax.layers.spectral_norm import (
    SingularVectors,
    SpectralNorm,
    iterate_power,
    spectral_norm,
)
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
    "InstanceNorm",
    "LSTMState",
    "LayerNorm",
    "Linear",
    "SingularVectors",
    "SpatialDropout",
    "SpectralNorm",
    "activation",
    "adaptive_avg_pool",
    "adaptive_instance_norm",
    "avg_pool",
    "batch_norm",
    "beam_search",
    "bed_of_nails",
    "box_areas",
    "box_giou",
    "box_iou",
    "clip_boxes",
    "conv2d",
    "conv_transpose2d",
    "decode_boxes",
    "default_boxes",
    "depthwise_conv2d",
    "dropout",
    "elu",
    "encode_boxes",
    "flatten",
    "gelu",
    "global_avg_pool",
    "global_max_pool",
    "gram_matrix",
    "grid_anchors",
    "group_norm",
    "gru_cell",
    "instance_norm",
    "instance_statistics",
    "iterate_power",
    "l2_normalize",
    "layer_norm",
    "leaky_relu",
    "list_activations",
    "local_response_normalization",
    "lstm_cell",
    "match_anchors",
    "match_every_truth",
    "max_pool",
    "max_pool_with_indices",
    "max_unpool",
    "non_maximum_suppression",
    "normalize_batch",
    "pairwise_giou",
    "pairwise_iou",
    "pyramid_levels",
    "pyramid_roi_align",
    "recur",
    "relu",
    "resize_bilinear",
    "resize_boxes",
    "resize_from_corner",
    "resize_nearest",
    "resize_parts",
    "rnn_cell",
    "roi_align",
    "roi_pool",
    "sample_balanced",
    "selu",
    "sigmoid",
    "silu",
    "soft_non_maximum_suppression",
    "softplus",
    "spatial_dropout",
    "spectral_norm",
    "subsample",
    "tanh",
    "whitening_kernel",
]
