"""Cross-correlation of images with kernels, its transpose and its kernel gradient.

Images, kernel and outputs are bound by one trilinear form, `<convolve(images, kernel), outputs>`.
Its derivatives by the outputs, the images and the kernel are three operators: `convolve`, `spread`
and the kernel gradient. Convolution, transposed convolution and all of their derivatives consist of
them. Each is a primitive that is linear in both arguments, and its two transposes are the others.

On CPUs they are computed by `layers.cpu`, on all other platforms as written here.
"""

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax
from jax._src.dispatch import prim_requires_devices_during_lowering
from jax.interpreters import ad, batching
from jaxtyping import Array

from cnn_jax.layers import cpu
from cnn_jax.layers.mesh_axes import by_parts_of_batch, varying_like
from cnn_jax.layers.primitives import fold, primitive, unfold
from cnn_jax.layers.windows import Geometry


def convolve(x: Array, kernel: Array, shape: tuple[Any, ...], geometry: Geometry) -> Array:
    """The convolution of x [batch, height, width, channels] with a kernel of HWIO layout.

    Its outputs have the given shape.
    """
    return _of_images_and_kernel("outputs", x, kernel, shape, geometry)


def spread(y: Array, kernel: Array, shape: tuple[Any, ...], geometry: Geometry) -> Array:
    """The transpose of `convolve` in x: the sum of the kernel times each pixel of y, at its place.

    The resulting images have the given shape.
    """
    return _of_images_and_kernel("images", y, kernel, shape, geometry)


def _of_images_and_kernel(
    wanted: str, x: Array, kernel: Array, shape: tuple[Any, ...], geometry: Geometry
) -> Array:
    if x.dtype != kernel.dtype:
        raise TypeError(f"images of {x.dtype} and a kernel of {kernel.dtype}: convert one of them")
    # Calls of oneDNN are divided over devices by `custom_partitioning`, which JAX looks for in
    # jaxprs only, and not in lowerings.
    if cpu.onednn.load():
        prim_requires_devices_during_lowering.update(_PRIMITIVES.values())

    def part(x: Array, kernel: Array) -> Array:
        alike = varying_like(x, kernel), varying_like(kernel, x)
        # The batch may be one device's part of it.
        local = (x.shape[0], *shape[1:])
        return _PRIMITIVES[wanted].bind(*alike, shape=local, geometry=geometry)

    return by_parts_of_batch(part, x, kernel)


def _convolve(x: Array, kernel: Array, *, shape: tuple[Any, ...], geometry: Geometry) -> Array:
    return lax.conv_general_dilated(
        x,
        kernel,
        geometry.stride,
        geometry.padding,
        rhs_dilation=geometry.dilation,
        dimension_numbers=("NHWC", "HWIO", "NHWC"),
        feature_group_count=geometry.groups,
    )


def _spread(y: Array, kernel: Array, *, shape: tuple[Any, ...], geometry: Geometry) -> Array:
    # Unlike a `jax.ShapeDtypeStruct`, these vary over the mesh axes that y varies over.
    zeros = varying_like(jnp.zeros(shape, y.dtype), y)
    convolve_images = partial(_convolve, kernel=kernel, shape=y.shape, geometry=geometry)
    return jax.linear_transpose(convolve_images, zeros)(y)[0]


def _kernel_gradient(x: Array, y: Array, *, shape: tuple[Any, ...], geometry: Geometry) -> Array:
    zeros = varying_like(jnp.zeros(shape, x.dtype), x)
    convolve_with = partial(_convolve, x, shape=y.shape, geometry=geometry)
    return jax.linear_transpose(convolve_with, zeros)(y)[0]


# Each of the three is computed from the other two.
_PRIMITIVES = {
    "outputs": primitive("convolve", _convolve, cpu.convolve),
    "images": primitive("spread", _spread, cpu.spread),
    "kernel": primitive("kernel_gradient", _kernel_gradient, cpu.kernel_gradient),
}
_OPERANDS = {
    "outputs": ("images", "kernel"),
    "images": ("outputs", "kernel"),
    "kernel": ("images", "outputs"),
}


def _transpose(
    wanted: str, place: int, cotangent: Array, *operands: Any, geometry: Geometry, **_: Any
) -> Array:
    """The transpose of `wanted` in its operand at `place`, which is another one of the three."""
    of, known = _OPERANDS[wanted][place], _OPERANDS[wanted][1 - place]
    arrays = {wanted: cotangent, known: operands[1 - place]}
    a, b = (arrays[name] for name in _OPERANDS[of])
    return _PRIMITIVES[of].bind(a, b, shape=operands[place].aval.shape, geometry=geometry)


def _batch(
    wanted: str,
    operands: tuple[Array, Array],
    axes: tuple[int | None, int | None],
    *,
    shape: tuple[Any, ...],
    geometry: Geometry,
) -> tuple[Array, int]:
    """The batching rule: one operator, in which the new axis is merged into an existing one.

    This is the axis that all batched arrays have in common: the batch for images and outputs, the
    features for kernel and outputs, the channels for images and kernel. All three have the groups
    in common.
    """
    groups = geometry.groups
    batched = {
        name for name, axis in zip(_OPERANDS[wanted], axes, strict=True) if axis is not None
    } | {wanted}
    # For each array the axis, and the number of parts into which `fold` splits it.
    if batched == {"images", "outputs"}:
        places = {"images": (0, 1), "outputs": (0, 1)}
    elif batched == {"kernel", "outputs"}:
        places = {"kernel": (3, groups), "outputs": (3, groups)}
    elif batched == {"images", "kernel"}:
        places = {"images": (3, groups), "kernel": (2, 1)}
    else:
        places = dict.fromkeys(_OPERANDS, (3, 1))

    folded, size = [], 0
    for name, x, axis in zip(_OPERANDS[wanted], operands, axes, strict=True):
        if axis is not None:
            size = x.shape[axis]
            x = fold(jnp.moveaxis(x, axis, 0), *places[name])
        folded.append(x)
    if len(batched) == 3:
        geometry = geometry._replace(groups=groups * size)
    axis, parts = places[wanted]
    together = (*shape[:axis], size * shape[axis], *shape[axis + 1 :])
    made = _PRIMITIVES[wanted].bind(*folded, shape=together, geometry=geometry)
    return unfold(made, size, shape, axis, parts), 0


for _wanted, _primitive in _PRIMITIVES.items():
    ad.defbilinear(_primitive, partial(_transpose, _wanted, 0), partial(_transpose, _wanted, 1))
    batching.primitive_batchers[_primitive] = partial(_batch, _wanted)
