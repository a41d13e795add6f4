"""The kernel gradient of a convolution as products of matrices, for CPUs without oneDNN.

XLA's CPU compiler computes it as a convolution in which batch and channels change places: the
kernel is as large as an image, and the image has a channel for each example. For large batches this
takes up to eight times as long as the products here, which XLA computes as fast as any library
(`python -m experiments.bench convolution`).
"""

import math

import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Float

from cnn_jax.layers.mesh_axes import varying_like
from cnn_jax.layers.windows import Geometry

MANY_CHANNELS, MANY_FEATURES = 8, 24
"""XLA's products are faster than its convolution with at least this many channels and features."""
BLOCK_VALUES = 2**20
"""Patches of this many values, 4 MB in float32, stay in a processor's cache."""

Images = Float[Array, "batch height width channels"]
Outputs = Float[Array, "batch out_height out_width features"]


def takes(kernel: tuple[int, ...], geometry: Geometry) -> bool:
    """Whether products compute the gradient by a kernel of this shape faster than XLA does."""
    *window, channels, features = kernel
    many = features >= MANY_FEATURES or window == [1, 1]
    return geometry.groups == 1 and channels >= MANY_CHANNELS and many


def kernel_gradient_by_products(
    x: Images, y: Outputs, window: tuple[int, int], geometry: Geometry
) -> Float[Array, "window_height window_width channels features"]:
    """The gradient of `<convolve(x, kernel), y>` by the kernel, of one group.

    Row p of a matrix P is the patch of x that output pixel p sees, and row p of a matrix Y is the
    gradient of this pixel. The kernel's gradient is P' Y. The patches of a whole batch would take
    the memory of one copy of it for each pixel of the window, and would leave the cache before they
    are used (the weakness of im2col). So the products of a few images at a time are added up. The
    patches of a 1x1 kernel are the image itself, and all images are taken at once.

    Args:
        x: images.
        y: gradient by the outputs.
        window: (height, width) of the kernel.
        geometry: of the convolution; its groups are ignored.
    """
    batch, height, width, features = y.shape
    if batch == 0:
        return varying_like(jnp.zeros((*window, x.shape[3], features), x.dtype), x, y)
    values_of_an_image = height * width * math.prod(window) * x.shape[3]
    wanted = batch if window == (1, 1) else max(1, BLOCK_VALUES // values_of_an_image)
    size = next(n for n in range(min(wanted, batch), 0, -1) if batch % n == 0)
    number = batch // size
    # In bfloat16, a sum of many blocks would stop growing.
    wide = jnp.promote_types(x.dtype, jnp.float32)

    def add(i: Array | int, total: Array) -> Array:
        images = lax.dynamic_slice_in_dim(x, i * size, size)
        gradients = lax.dynamic_slice_in_dim(y, i * size, size).reshape(-1, features)
        taken = patches(images, window, geometry, (height, width)).reshape(len(gradients), -1)
        contracted = (((0,), (0,)), ((), ()))
        return total + lax.dot_general(taken, gradients, contracted, preferred_element_type=wide)

    zeros = jnp.zeros((math.prod(window) * x.shape[3], features), wide)
    total = lax.fori_loop(0, number, add, varying_like(zeros, x, y)).astype(x.dtype)
    return total.reshape(*window, x.shape[3], features)


def patches(
    x: Images, window: tuple[int, int], geometry: Geometry, size: tuple[int, int]
) -> Float[Array, "batch out_height out_width values"]:
    """The patch that each output pixel sees: its window, row by row, with all channels.

    Args:
        x: images.
        window: (height, width) of the kernel.
        geometry: of the convolution.
        size: (height, width) of the output.
    """
    (down, across), padding, (row_step, column_step), _ = geometry
    padded = jnp.pad(x, ((0, 0), *padding, (0, 0)))
    taps = []
    for row, column in np.ndindex(window):
        top, left = row * row_step, column * column_step
        rows = slice(top, top + (size[0] - 1) * down + 1, down)
        columns = slice(left, left + (size[1] - 1) * across + 1, across)
        taps.append(padded[:, rows, columns])
    return jnp.concatenate(taps, axis=-1)
