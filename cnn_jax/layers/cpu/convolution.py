"""The three operators of `layers.correlation` on a CPU: by oneDNN where it is there, else by XLA.

XLA's CPU compiler runs the gradients of a convolution inside of a loop (`lax.scan`, `fori_loop`)
some 40 times slower than outside, because only outside of loops it rewrites them into the layout
that its fast convolution wants (jax issue 12868). Stated in that layout from the start, NHWC and
HWIO with explicit transpositions, they are fast everywhere.

It also lets a kernel and smaller images change places, as 3x3 kernels and the last maps of small
images, and then has only a plain loop for them, some 30 times slower (`_convolution`).
"""

from collections.abc import Sequence
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax
from jax.experimental.xla_metadata import set_xla_metadata
from jax.export import is_symbolic_dim
from jaxtyping import Array

from cnn_jax.layers.cpu import onednn, products, winograd
from cnn_jax.layers.windows import Geometry


def convolve(x: Array, kernel: Array, *, shape: tuple[Any, ...], geometry: Geometry) -> Array:
    """The outputs, which have the given shape."""
    if onednn.takes("convolve", x.dtype, x.shape, kernel.shape, shape, geometry):
        return onednn.call("convolve", x, kernel, shape, geometry)
    stride, padding, dilation, groups = geometry
    return _convolution(x, kernel, stride, padding, rhs_dilation=dilation, groups=groups)


def spread(y: Array, kernel: Array, *, shape: tuple[Any, ...], geometry: Geometry) -> Array:
    """The gradient by the images, which have the given shape."""
    if onednn.takes("spread", y.dtype, shape, kernel.shape, y.shape, geometry):
        return onednn.call("spread", y, kernel, shape, geometry)
    return _spread_as_convolution(y, kernel, shape, geometry)


def kernel_gradient(x: Array, y: Array, *, shape: tuple[Any, ...], geometry: Geometry) -> Array:
    """The gradient by the kernel, which has the given shape."""
    if onednn.takes("kernel_gradient", x.dtype, x.shape, shape, y.shape, geometry):
        return onednn.call("kernel_gradient", x, y, shape, geometry)
    # Over several devices the product of each block would be summed over all of them. A batch whose
    # size is a symbol (`jax.export`) has no blocks.
    if jax.device_count() == 1 and not any(map(is_symbolic_dim, x.shape)):
        if winograd.takes(x.dtype, shape, y.shape, geometry):
            return winograd.kernel_gradient_by_winograd(x, y, geometry)
        if products.takes(shape, geometry):
            return products.kernel_gradient_by_products(x, y, shape[:2], geometry)
    return _kernel_gradient_as_convolution(x, y, shape, geometry)


def _spread_as_convolution(
    y: Array, kernel: Array, shape: tuple[Any, ...], geometry: Geometry
) -> Array:
    """Convolution of y, its pixels set apart by the stride, with the flipped kernel."""
    height, width, channels, features = kernel.shape
    stride, padding, dilation, groups = geometry
    flipped = kernel[::-1, ::-1].reshape(height, width, channels, groups, features // groups)
    flipped = flipped.transpose(0, 1, 4, 3, 2)
    sides = []
    for axis in (0, 1):
        reach = (kernel.shape[axis] - 1) * dilation[axis]
        apart = (y.shape[axis + 1] - 1) * stride[axis] + 1
        before = reach - padding[axis][0]
        sides.append((before, shape[axis + 1] + reach - apart - before))
    flipped = flipped.reshape(height, width, features // groups, groups * channels)
    return _convolution(
        y,
        flipped,
        (1, 1),
        sides,
        lhs_dilation=stride,
        rhs_dilation=dilation,
        groups=groups,
    )


def _kernel_gradient_as_convolution(
    x: Array, y: Array, shape: tuple[Any, ...], geometry: Geometry
) -> Array:
    """Convolution of the images with y, where batch and channels change places."""
    batch, height, width, _ = x.shape
    stride, padding, dilation, groups = geometry
    x = x.reshape(batch, height, width, groups, shape[2])
    sides = []
    for axis in (0, 1):
        reach = (shape[axis] - 1) * dilation[axis]
        apart = (y.shape[axis + 1] - 1) * stride[axis] + 1
        before = padding[axis][0]
        sides.append((before, reach + apart - x.shape[axis + 1] - before))
    with set_xla_metadata(inlineable="false"):
        images, y = _transposed(x, (4, 1, 2, 3, 0)), _transposed(y, (1, 2, 0, 3))
    images = images.reshape(shape[2], height, width, groups * batch)
    weights = _convolution(images, y, dilation, sides, rhs_dilation=stride, groups=groups)
    return weights.transpose(1, 2, 0, 3)


def _convolution(
    x: Array,
    kernel: Array,
    stride: tuple[int, int],
    sides: Sequence[tuple[int, int]],
    *,
    lhs_dilation: tuple[int, int] = (1, 1),
    rhs_dilation: tuple[int, int],
    groups: int,
) -> Array:
    """XLA's convolution; images smaller than the kernel get their padding before it.

    Padded, they are no longer smaller, and XLA leaves them in their place. The barrier keeps it
    from taking the padding into the convolution.
    """
    sizes = (*x.shape[1:3], *kernel.shape[:2])
    known = not any(map(is_symbolic_dim, sizes))
    if known and sizes[0] * sizes[1] < sizes[2] * sizes[3]:
        apart = [(*side, step - 1) for side, step in zip(sides, lhs_dilation, strict=True)]
        zero = jnp.zeros((), x.dtype)
        x = lax.optimization_barrier(lax.pad(x, zero, ((0, 0, 0), *apart, (0, 0, 0))))
        sides, lhs_dilation = ((0, 0), (0, 0)), (1, 1)
    return lax.conv_general_dilated(
        x,
        kernel,
        stride,
        sides,
        lhs_dilation=lhs_dilation,
        rhs_dilation=rhs_dilation,
        dimension_numbers=("NHWC", "HWIO", "NHWC"),
        feature_group_count=groups,
    )


@partial(jax.jit, static_argnums=1)
def _transposed(x: Array, axes: tuple[int, ...]) -> Array:
    """The transposition, as a call of its own, which the compiler is told not to inline.

    Inlined, it would be fused with everything elementwise that led to x, down the whole residual
    stream: computed anew, and in strides that miss the cache. A ResNet-20's step would take 1.4
    times as long. The convolution itself stays outside of the call: over a mesh it ends in a sum
    over the devices. XLA's CPU runtime runs such sums in the same order on all devices, without
    which they wait for each other forever, only if none of them is inside of a call.
    """
    return x.transpose(axes)
