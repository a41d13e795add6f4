"""Cross-correlation of images with kernels and its adjoint, with their gradients stated explicitly.

Images x, kernel k and outputs y are bound by one trilinear form, `<convolve(x, k), y>`. Its three
gradients are all that convolution, transposed convolution and their gradients need: `convolve` is
the one by y, `spread` the one by x, and `_kernel_gradient` the one by k.

On CPUs each is computed by `onednn`, where the extra `cpu` is installed; without it `winograd` and
`products` compute kernel gradients faster than XLA does.
"""

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax
from jax.experimental.xla_metadata import set_xla_metadata
from jax.export import is_symbolic_dim
from jaxtyping import Array

from cnn_jax.layers import onednn, products, winograd
from cnn_jax.layers.mesh_axes import by_parts_of_batch, varying_like
from cnn_jax.layers.windows import Geometry

_LAYOUT = ("NHWC", "HWIO", "NHWC")


# XLA's CPU compiler runs the gradients of a convolution inside a loop (`lax.scan`, `fori_loop`)
# some 40 times slower than outside, because it rewrites them into the layout that its fast
# convolution wants only outside of loops (jax issue 12868). Stated in that layout from the start,
# they are fast everywhere. GPU and TPU compilers recognize the transposition that JAX itself
# makes, so there it stays.


def convolve(x: Array, kernel: Array, geometry: Geometry) -> Array:
    """The convolution of x [batch, height, width, channels] with a kernel of HWIO layout."""

    def part(x: Array, kernel: Array) -> Array:
        return _convolve(varying_like(x, kernel), varying_like(kernel, x), geometry)

    return by_parts_of_batch(part, x, kernel)


def spread(y: Array, kernel: Array, shape: tuple[Any, ...], geometry: Geometry) -> Array:
    """The adjoint of `convolve` in x, for images of the given shape: each y times the kernel."""

    def part(y: Array, kernel: Array) -> Array:
        # A device's part of the batch, as y is.
        images = (y.shape[0], *shape[1:])
        return _spread(varying_like(y, kernel), varying_like(kernel, y), images, geometry)

    return by_parts_of_batch(part, y, kernel)


@partial(jax.custom_vjp, nondiff_argnums=(2,))
def _convolve(x: Array, kernel: Array, geometry: Geometry) -> Array:
    return lax.platform_dependent(
        x,
        kernel,
        cpu=lambda x, kernel: _cpu_convolve(x, kernel, geometry),
        default=lambda x, kernel: _xla_convolve(x, kernel, geometry),
    )


@partial(jax.custom_vjp, nondiff_argnums=(2, 3))
def _spread(y: Array, kernel: Array, shape: tuple[Any, ...], geometry: Geometry) -> Array:
    return lax.platform_dependent(
        kernel,
        y,
        cpu=lambda kernel, y: _cpu_spread(y, kernel, shape, geometry),
        default=lambda kernel, y: jax.linear_transpose(
            lambda images: _xla_convolve(images, kernel, geometry),
            _zeros(shape, y),
        )(y)[0],
    )


@partial(jax.custom_vjp, nondiff_argnums=(2, 3))
def _kernel_gradient(x: Array, y: Array, shape: tuple[Any, ...], geometry: Geometry) -> Array:
    return lax.platform_dependent(
        x,
        y,
        cpu=lambda x, y: _cpu_kernel_gradient(x, y, shape, geometry),
        default=lambda x, y: jax.linear_transpose(
            lambda kernel: _xla_convolve(x, kernel, geometry), _zeros(shape, x)
        )(y)[0],
    )


def _convolve_forward(
    x: Array, kernel: Array, geometry: Geometry
) -> tuple[Array, tuple[Array, Array]]:
    return _convolve(x, kernel, geometry), (x, kernel)


def _convolve_backward(
    geometry: Geometry, residuals: tuple[Array, Array], gradient: Array
) -> tuple[Array, Array]:
    x, kernel = residuals
    of_input = _spread(gradient, kernel, x.shape, geometry)
    return of_input, _kernel_gradient(x, gradient, kernel.shape, geometry)


def _spread_forward(
    y: Array, kernel: Array, shape: tuple[Any, ...], geometry: Geometry
) -> tuple[Array, tuple[Array, Array]]:
    return _spread(y, kernel, shape, geometry), (y, kernel)


def _spread_backward(
    shape: tuple[Any, ...],
    geometry: Geometry,
    residuals: tuple[Array, Array],
    gradient: Array,
) -> tuple[Array, Array]:
    y, kernel = residuals
    of_input = _convolve(gradient, kernel, geometry)
    return of_input, _kernel_gradient(gradient, y, kernel.shape, geometry)


def _kernel_gradient_forward(
    x: Array, y: Array, shape: tuple[Any, ...], geometry: Geometry
) -> tuple[Array, tuple[Array, Array]]:
    return _kernel_gradient(x, y, shape, geometry), (x, y)


def _kernel_gradient_backward(
    shape: tuple[Any, ...],
    geometry: Geometry,
    residuals: tuple[Array, Array],
    gradient: Array,
) -> tuple[Array, Array]:
    x, y = residuals
    return _spread(y, gradient, x.shape, geometry), _convolve(x, gradient, geometry)


_convolve.defvjp(_convolve_forward, _convolve_backward)
_spread.defvjp(_spread_forward, _spread_backward)
_kernel_gradient.defvjp(_kernel_gradient_forward, _kernel_gradient_backward)


def _zeros(shape: tuple[Any, ...], x: Array) -> Array:
    """Zeros that vary over the mesh axes that x varies over, as no `jax.ShapeDtypeStruct` does."""
    return varying_like(jnp.zeros(shape, x.dtype), x)


def _cpu_convolve(x: Array, kernel: Array, geometry: Geometry) -> Array:
    outputs = jax.eval_shape(partial(_xla_convolve, geometry=geometry), x, kernel)
    if onednn.takes(outputs.dtype, x.shape, kernel.shape, outputs.shape, geometry):
        return onednn.convolve(x, kernel, outputs.shape, geometry)
    return _xla_convolve(x, kernel, geometry)


def _cpu_spread(y: Array, kernel: Array, shape: tuple[Any, ...], geometry: Geometry) -> Array:
    if onednn.takes(y.dtype, shape, kernel.shape, y.shape, geometry):
        return onednn.spread(y, kernel, shape, geometry)
    return _spread_as_convolution(y, kernel, shape, geometry)


def _cpu_kernel_gradient(x: Array, y: Array, shape: tuple[Any, ...], geometry: Geometry) -> Array:
    if onednn.takes(x.dtype, x.shape, shape, y.shape, geometry):
        return onednn.kernel_gradient(x, y, shape, geometry)
    # Over several devices the blocks' products would each be summed over all of them; a batch whose
    # size is a symbol (`jax.export`) has no blocks.
    if jax.device_count() == 1 and not any(map(is_symbolic_dim, x.shape)):
        if winograd.takes(x.dtype, shape, y.shape, geometry):
            return winograd.kernel_gradient_by_winograd(x, y, geometry)
        if products.takes(shape, geometry):
            return products.kernel_gradient_by_products(x, y, shape[:2], geometry)
    return _kernel_gradient_as_convolution(x, y, shape, geometry)


def _xla_convolve(x: Array, kernel: Array, geometry: Geometry) -> Array:
    return lax.conv_general_dilated(
        x,
        kernel,
        geometry.stride,
        geometry.padding,
        rhs_dilation=geometry.dilation,
        dimension_numbers=_LAYOUT,
        feature_group_count=geometry.groups,
    )


def _spread_as_convolution(
    y: Array, kernel: Array, shape: tuple[Any, ...], geometry: Geometry
) -> Array:
    """Convolution of y, its pixels set apart by the stride, with the turned kernel."""
    height, width, channels, features = kernel.shape
    stride, padding, dilation, groups = geometry
    turned = kernel[::-1, ::-1].reshape(height, width, channels, groups, features // groups)
    turned = turned.transpose(0, 1, 4, 3, 2)
    sides = []
    for axis in (0, 1):
        reach = (kernel.shape[axis] - 1) * dilation[axis]
        apart = (y.shape[axis + 1] - 1) * stride[axis] + 1
        before = reach - padding[axis][0]
        sides.append((before, shape[axis + 1] + reach - apart - before))
    return lax.conv_general_dilated(
        y,
        turned.reshape(height, width, features // groups, groups * channels),
        (1, 1),
        sides,
        lhs_dilation=stride,
        rhs_dilation=dilation,
        dimension_numbers=_LAYOUT,
        feature_group_count=groups,
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
    weights = lax.conv_general_dilated(
        images.reshape(shape[2], height, width, groups * batch),
        y,
        dilation,
        sides,
        rhs_dilation=stride,
        dimension_numbers=_LAYOUT,
        feature_group_count=groups,
    )
    return weights.transpose(1, 2, 0, 3)


@partial(jax.jit, static_argnums=1)
def _transposed(x: Array, axes: tuple[int, ...]) -> Array:
    """The transposition, as a call of its own where the compiler is told not to inline it.

    Inlined, it would be fused with everything elementwise that led to x, down the whole residual
    stream: computed anew, and in strides that miss the cache. The whole step of a ResNet-20 takes
    1.4 times as long then. The convolution itself stays outside of the call: over a mesh it ends
    in a sum over the devices, and XLA's CPU runtime keeps such sums in the same order on all of
    them, without which they wait for each other, only where none is inside of a call.
    """
    return x.transpose(axes)
