"""Random convolutions, and XLA's own, with which ours are compared."""

import functools

import numpy as np
from hypothesis import assume
from hypothesis import strategies as st
from jax import lax


def xla_convolution(x, kernel, stride, padding, dilation, groups):
    """With the gradients that JAX itself derives."""
    return lax.conv_general_dilated(
        x,
        kernel,
        stride,
        padding,
        rhs_dilation=dilation,
        dimension_numbers=("NHWC", "HWIO", "NHWC"),
        feature_group_count=groups,
    )


@st.composite
def convolutions(draw):
    small = functools.partial(st.integers, 1)
    pairs = st.tuples
    groups = draw(st.sampled_from([1, 1, 2, 3]))
    kernel = draw(pairs(small(3), small(4)))
    dilation = draw(pairs(small(2), small(3)))
    padding = draw(pairs(*[pairs(st.integers(0, 3), st.integers(0, 3))] * 2))
    image = draw(pairs(small(8), small(8)))
    for n, k, d, p in zip(image, kernel, dilation, padding, strict=True):
        assume((k - 1) * d < n + sum(p))
    geometry = (draw(pairs(small(3), small(3))), padding, dilation, groups)
    x = (draw(small(3)), *image, groups * draw(small(3)))
    return x, (*kernel, x[-1] // groups, groups * draw(small(2))), geometry


def draw_normal(seed, *shapes):
    generator = np.random.default_rng(seed)
    return [generator.standard_normal(shape) for shape in shapes]
