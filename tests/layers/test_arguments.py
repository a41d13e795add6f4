"""What all of `cnn_jax.layers` promise: dtypes, values that are not finite, axes, sizes."""

import functools
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from cnn_jax import layers
from tests.tolerance import assert_close

WINDOW = 16
"""Sums over windows of 16x16 pixels stop growing in bfloat16."""


def module(made, **options):
    """The module, with parameters of ones."""

    def apply(x):
        drawn = jax.eval_shape(
            lambda: made.init(jax.random.key(0), jnp.ones(jnp.shape(x)), **options)
        )
        ones = jax.tree.map(
            lambda leaf: jnp.ones(leaf.shape, x.dtype if floating(x) else leaf.dtype), drawn
        )
        return made.apply(ones, x, **options, rngs={"dropout": jax.random.key(1)})

    return apply


def ones(x, *shape):
    """Parameters in the dtype of the images."""
    return jnp.ones(shape, x.dtype if floating(x) else jnp.float32)


def floating(x):
    return jnp.issubdtype(x.dtype, jnp.floating)


def per_channel(x):
    return ones(x, x.shape[-1]), ones(x, x.shape[-1])


KEY = jax.random.key(0)
BOX = jnp.tile(jnp.array([0.0, 0, WINDOW + 2, WINDOW]), (2, 1, 1))
COMPUTED = {
    "BatchNorm": module(layers.BatchNorm(dtype=None), train=False),
    "Conv": module(layers.Conv(2, WINDOW)),
    "ConvTranspose": module(layers.ConvTranspose(2, WINDOW)),
    "Dropout": module(layers.Dropout(0.3), train=True),
    "GroupNorm": module(layers.GroupNorm(1)),
    "InstanceNorm": module(layers.InstanceNorm()),
    "LayerNorm": module(layers.LayerNorm()),
    "Linear": module(layers.Linear(2)),
    "SpatialDropout": module(layers.SpatialDropout(0.3), train=True),
    "SpectralNorm": module(layers.SpectralNorm(layers.Linear(2)), train=False),
    "adaptive_instance_norm": lambda x: layers.adaptive_instance_norm(x, x[:, ::2]),
    "adaptive_avg_pool": lambda x: layers.adaptive_avg_pool(x, (1, 3)),
    "avg_pool": lambda x: layers.avg_pool(x, WINDOW),
    "batch_norm": lambda x: layers.batch_norm(x, *per_channel(x), *per_channel(x)),
    "conv2d": lambda x: layers.conv2d(x, ones(x, WINDOW, WINDOW, x.shape[-1], 2), ones(x, 2)),
    "conv_transpose2d": lambda x: layers.conv_transpose2d(
        x, ones(x, WINDOW, WINDOW, 2, x.shape[-1]), ones(x, 2)
    ),
    "depthwise_conv2d": lambda x: layers.depthwise_conv2d(
        x, ones(x, WINDOW, WINDOW, x.shape[-1], 1)
    ),
    "dropout": lambda x: layers.dropout(KEY, x, 0.3, train=True),
    "elu": layers.elu,
    "gelu": layers.gelu,
    "global_avg_pool": layers.global_avg_pool,
    "global_max_pool": layers.global_max_pool,
    "gram_matrix": layers.gram_matrix,
    "group_norm": lambda x: layers.group_norm(x, 1, *per_channel(x)),
    "instance_norm": lambda x: layers.instance_norm(x, *per_channel(x)),
    "l2_normalize": layers.l2_normalize,
    "layer_norm": lambda x: layers.layer_norm(x, *per_channel(x)),
    "leaky_relu": layers.leaky_relu,
    "local_response_normalization": lambda x: layers.local_response_normalization(x, 3),
    "max_pool": lambda x: layers.max_pool(x, 2),
    "max_pool_with_indices": lambda x: layers.max_pool_with_indices(x, 2)[0],
    "normalize_batch": lambda x: layers.normalize_batch(x, *per_channel(x))[0],
    "pyramid_roi_align": lambda x: layers.pyramid_roi_align(
        [x, x[:, ::2, ::2]], BOX, 2, strides=(1, 2), sampling_ratio=WINDOW
    ),
    "relu": layers.relu,
    "resize_bilinear": lambda x: layers.resize_bilinear(x, 7, antialias=True),
    "resize_from_corner": lambda x: layers.resize_from_corner(x, 7),
    "resize_parts": lambda x: layers.resize_parts(x, jnp.full((len(x), 2), 4), 7),
    "roi_align": lambda x: layers.roi_align(x, BOX, 2, sampling_ratio=WINDOW),
    "roi_pool": lambda x: layers.roi_pool(x, BOX, 2),
    "selu": layers.selu,
    "sigmoid": layers.sigmoid,
    "silu": layers.silu,
    "softplus": layers.softplus,
    "spatial_dropout": lambda x: layers.spatial_dropout(KEY, x, 0.3, train=True),
    "tanh": layers.tanh,
    "whitening_kernel": layers.whitening_kernel,
}
MOVED = {
    "bed_of_nails": lambda x: layers.bed_of_nails(x, 2),
    "flatten": layers.flatten,
    "max_unpool": lambda x: layers.max_unpool(
        x,
        jnp.broadcast_to(
            jnp.arange(x[0].size // x.shape[-1]).reshape(x.shape[1:3])[None, ..., None], x.shape
        ),
        20,
    ),
    "resize_nearest": lambda x: layers.resize_nearest(x, 7),
    "subsample": lambda x: layers.subsample(x, 2),
}
# Of boxes alone: see the tests of their files.
OF_BOXES = {
    "box_areas", "box_giou", "box_iou", "clip_boxes", "decode_boxes", "default_boxes",
    "encode_boxes", "grid_anchors", "match_anchors", "match_every_truth",
    "non_maximum_suppression", "pairwise_giou", "pairwise_iou", "pyramid_levels",
    "resize_boxes", "sample_balanced", "soft_non_maximum_suppression",
}  # fmt: skip
OF_SEQUENCES = {
    "GRU", "LSTM", "LSTMState", "RNN", "beam_search", "gru_cell", "lstm_cell", "recur", "rnn_cell",
}  # fmt: skip
"""See test_recurrent and test_beam_search."""
OF_STATISTICS = {"instance_statistics"}
"""In float32 whatever the input."""
OF_KERNELS = {"SingularVectors", "iterate_power", "spectral_norm"}
"""See test_spectral_norm."""
NOT_OF_ARRAYS = {"Activation", "activation", "list_activations"}
ELEMENTWISE = {"Dropout", "dropout", *layers.list_activations()}
LAST_AXIS = {
    "BatchNorm", "LayerNorm", "Linear", "SpectralNorm", "batch_norm", "l2_normalize", "layer_norm",
    "local_response_normalization", "normalize_batch",
}  # fmt: skip
BATCH_AND_CHANNELS = {
    "GroupNorm", "InstanceNorm", "adaptive_instance_norm", "group_norm", "instance_norm",
}  # fmt: skip

ROUNDING = {jnp.bfloat16: 2**-7, jnp.float16: 2**-9}


@functools.cache
def compiled(name):
    """Kept, so that the tests of one operator share its program for float32."""
    return jax.jit((COMPUTED | MOVED)[name])


def images(dtype):
    """For half precision large, and no two channels alike."""
    largest = {jnp.float16: 40_000, jnp.bfloat16: 3, jnp.uint8: 255, jnp.int32: 70_000, bool: 1.9}
    x = np.random.default_rng(0).uniform(0.6, 1, (2, WINDOW, WINDOW + 2, 3)) * [1, 0.5, 0.25]
    return jnp.asarray(x * largest[dtype]).astype(dtype)


def test_no_operator_is_left_out():
    named = [
        *COMPUTED, *MOVED, *OF_BOXES, *OF_SEQUENCES, *OF_STATISTICS, *OF_KERNELS, *NOT_OF_ARRAYS
    ]  # fmt: skip
    assert sorted(named) == sorted(layers.__all__)


@pytest.mark.parametrize("dtype", [jnp.bfloat16, jnp.float16], ids=["bfloat16", "float16"])
@pytest.mark.parametrize("name", COMPUTED | MOVED)
def test_half_precision_is_rounded_once(name, dtype):
    """Sums are those of float32, and the result has the dtype of the input."""
    x = images(dtype)
    operator = compiled(name)
    y = operator(x)
    assert y.dtype == dtype
    expected = operator(x.astype(jnp.float32)).astype(dtype).astype(jnp.float32)
    assert_close(y.astype(jnp.float32), expected, rtol=ROUNDING[dtype])


@pytest.mark.parametrize("dtype", [jnp.uint8, jnp.int32, bool], ids=["uint8", "int32", "bool"])
@pytest.mark.parametrize("name", COMPUTED)
def test_integers_are_taken_as_floats(name, dtype):
    x = images(dtype)
    operator = compiled(name)
    y = operator(x)
    assert y.dtype == jnp.float32
    assert_close(y, operator(x.astype(jnp.float32)), rtol=1e-6)


@pytest.mark.parametrize("dtype", [jnp.uint8, jnp.int32, bool], ids=["uint8", "int32", "bool"])
@pytest.mark.parametrize("name", MOVED)
def test_integers_that_are_only_moved_stay_integers(name, dtype):
    x = images(dtype)
    operator = compiled(name)
    y = operator(x)
    assert y.dtype == dtype
    np.testing.assert_array_equal(y, operator(x.astype(jnp.float32)).astype(dtype))


@pytest.mark.parametrize("name", sorted(set(COMPUTED) - {"whitening_kernel"}))
def test_a_nan_reaches_a_sum_over_the_output(name):
    """Compiled together, too, where XLA's maximum on CPUs ignores it."""
    x = jnp.ones((2, 64, 64, 3)).at[0, 1, 1, 0].set(jnp.nan)
    assert jnp.isnan(jax.jit(lambda x: COMPUTED[name](2 * x).sum())(x))


X, KERNEL = jnp.ones((4, 32, 32, 1), jnp.bfloat16), jnp.ones((1, 1, 1, 1), jnp.bfloat16)
LINEAR = {"kernel": KERNEL[0, 0]}


@pytest.mark.parametrize(
    "operator",
    [
        lambda bias: layers.conv2d(X, KERNEL, bias),
        lambda bias: layers.conv_transpose2d(X, KERNEL, bias),
        lambda bias: layers.Linear(1).apply({"params": LINEAR | {"bias": bias}}, X),
        lambda bias: layers.batch_norm(X, jnp.zeros_like(bias), bias + 1, bias + 1, bias),
    ],
)
def test_the_gradient_of_a_bias_is_summed_in_float32(operator):
    """In bfloat16 it would stop at 256."""
    bias = jnp.zeros(1, jnp.bfloat16)
    _, pullback = jax.vjp(operator, bias)
    (gradient,) = pullback(jnp.ones_like(X))
    assert 4096 <= gradient[0] <= 6144


@pytest.mark.parametrize("pool", [layers.max_pool, layers.max_pool_with_indices])
def test_the_gradient_of_overlapping_windows_is_summed_in_float32(pool):
    """In bfloat16 256 + 1 is 256."""
    x = jnp.zeros((1, 5, 5, 1), jnp.bfloat16).at[0, 2, 2, 0].set(1)
    _, pullback = jax.vjp(lambda x: jax.tree.leaves(pool(x, 3, 1))[0], x)
    (gradient,) = pullback(jnp.ones((1, 3, 3, 1), jnp.bfloat16).at[0, 0, 0, 0].set(256))
    assert gradient[0, 2, 2, 0] == 264


OF_IMAGES = sorted({*COMPUTED, *MOVED} - ELEMENTWISE - LAST_AXIS - BATCH_AND_CHANNELS)
WRONG_RANKS = [
    *((name, (4, 5, 3)) for name in OF_IMAGES),
    *((name, ()) for name in sorted(LAST_AXIS)),
    *((name, (3,)) for name in sorted(BATCH_AND_CHANNELS)),
]


@pytest.mark.parametrize(("name", "shape"), WRONG_RANKS)
@pytest.mark.usefixtures("no_shape_hook")
def test_other_axes_are_answered_by_those_there_must_be(name, shape):
    axes, got = r"must have the axes \[.*\], got shape", re.escape(str(shape))
    parameters = jnp.ones(3), jnp.ones(3)
    special = {
        "adaptive_instance_norm": lambda x: layers.adaptive_instance_norm(x, jnp.ones((1, 2, 3))),
        "batch_norm": lambda x: layers.batch_norm(x, *parameters, *parameters),
        "layer_norm": lambda x: layers.layer_norm(x, *parameters),
        "normalize_batch": lambda x: layers.normalize_batch(x, *parameters),
        "max_unpool": lambda x: layers.max_unpool(x, jnp.zeros(shape, int), 20),
    }
    hint = "; a single one is" if shape == (4, 5, 3) else ""
    with pytest.raises(ValueError, match=f"(x|images|features) {axes} {got}{hint}"):
        special.get(name, (COMPUTED | MOVED)[name])(jnp.ones(shape))


@pytest.mark.usefixtures("no_shape_hook")
def test_axes_of_the_other_arrays_are_named():
    x, kernel = jnp.ones((1, 4, 4, 3)), jnp.ones((3, 3, 3))
    for operator in (layers.conv2d, layers.depthwise_conv2d, layers.conv_transpose2d):
        with pytest.raises(ValueError, match=r"kernel must have the axes \[.*\], got shape"):
            operator(x, kernel)
    with pytest.raises(
        ValueError, match=r"bias must have the axes \[features\], got shape \(1, 2\)"
    ):
        layers.conv2d(x, jnp.ones((1, 1, 3, 2)), jnp.ones((1, 2)))
    with pytest.raises(ValueError, match=r"mean must have the axes \[channels\], got shape \(\)"):
        layers.batch_norm(x, jnp.ones(()), *[jnp.ones(3)] * 3)
