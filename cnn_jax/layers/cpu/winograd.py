"""The kernel gradient of 3x3 convolutions by Winograd's filtering, for CPUs without oneDNN.

It needs a quarter of the multiplications. The method is Winograd's minimal filtering F(4x4, 3x3),
after Lavin and Gray 2016 ("Fast Algorithms for Convolutional Neural Networks", section 4). Take one
channel and a tile d of 6x6 pixels. A window k of 3x3 makes a tile y of 4x4 outputs from it, which
directly takes 16 x 9 = 144 multiplications. But windows and tiles are the coefficients of
polynomials, filtering is the transpose of a product of polynomials, and such a product can be
computed at points: evaluate both at six points an axis (0, 1, -1, 2, -2 and infinity), multiply the
6 x 6 = 36 pairs of values, and interpolate:

    y = A' ((B' d B) * (G k G')) A

The gradient by the kernel is the transpose of these steps, in reverse order:

    gradient of k = G' ((B' d B) * (A y A')) G

where the middle is summed over all tiles. Over channels and features it is one product of matrices
for each of the 36 points, [channels, tiles] times [tiles, features]. With many channels these
products take most of the time. The transforms around them have few numbers other than 0, 1 and -1,
and are additions of shifted images.

The convolution itself would be up to a third faster than XLA's in this way, but with an error of
1e-5 of its largest value in place of 2e-6. So it is not computed here. The error of this gradient
is 1e-6 to 7e-6.
"""

import math

import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Float

from cnn_jax.layers.mesh_axes import varying_like
from cnn_jax.layers.windows import Geometry

OUT, IN, POINTS = 4, 6, 36
"""Side of a tile of outputs and of the image, in pixels; number of points."""

# B', G and A', as in the paper.
DATA = np.array(
    [
        [4, 0, -5, 0, 1, 0],
        [0, -4, -4, 1, 1, 0],
        [0, 4, -4, -1, 1, 0],
        [0, -2, -1, 2, 1, 0],
        [0, 2, -1, -2, 1, 0],
        [0, 4, 0, -5, 0, 1],
    ]
)
FILTER = np.array([[6, 0, 0], [-4, -4, -4], [-4, 4, -4], [1, 2, 4], [1, -2, 4], [0, 0, 24]]) / 24
INVERSE = np.array(
    [[1, 1, 1, 1, 1, 0], [0, 1, -1, 2, -2, 0], [0, 1, 1, 4, 4, 0], [0, 1, -1, 8, -8, 1]]
)

MANY_CHANNELS = 32
"""With at least this many channels and features, it is worth the transforms."""
BLOCK_TILES = 512
"""Tiles at a time: enough for fast products, few enough for a processor's cache."""

Images = Float[Array, "batch height width channels"]
Outputs = Float[Array, "batch out_height out_width features"]


def takes(
    dtype: np.dtype, kernel: tuple[int, ...], outputs: tuple[int, ...], geometry: Geometry
) -> bool:
    """Whether this computes the gradient by a kernel of this shape faster than XLA does."""
    stride, _, dilation, groups = geometry
    batch, height, width, features = outputs
    plain = (stride, dilation, groups) == ((1, 1), (1, 1), 1)
    if dtype != jnp.float32 or not plain or kernel[:2] != (3, 3) or batch == 0:
        return False
    # A tile that reaches beyond the image costs as much as any other.
    used = height * width / (OUT * OUT * math.prod(_tiles((height, width))))
    return min(kernel[2], features) >= MANY_CHANNELS and used > 0.5


def kernel_gradient_by_winograd(
    x: Images, y: Outputs, geometry: Geometry
) -> Float[Array, "3 3 channels features"]:
    """The gradient of `<convolve(x, kernel), y>` by the kernel, which is 3x3.

    Args:
        x: images.
        y: gradient by the outputs.
        geometry: of the convolution; only its padding is used.
    """
    batch, height, width, features = y.shape
    down, across = _tiles((height, width))
    wanted = max(1, BLOCK_TILES // (down * across))
    size = next(n for n in range(min(wanted, batch), 0, -1) if batch % n == 0)

    # Outputs beyond the image have no gradient. A negative padding of x removes pixels.
    padded_y = jnp.pad(y, ((0, 0), (0, OUT * down - height), (0, OUT * across - width), (0, 0)))
    sides = [
        (before, OUT * tiles + 2 - n - before, 0)
        for n, tiles, (before, _) in zip(
            x.shape[1:3], (down, across), geometry.padding, strict=True
        )
    ]
    padded_x = lax.pad(x, jnp.zeros((), x.dtype), ((0, 0, 0), *sides, (0, 0, 0)))

    def add(i: Array | int, total: Array) -> Array:
        images = lax.dynamic_slice_in_dim(padded_x, i * size, size)
        gradients = lax.dynamic_slice_in_dim(padded_y, i * size, size)
        data, of_outputs = _along_tiles(DATA, images), _along_tiles(INVERSE.T, gradients)
        return total + lax.dot_general(data, of_outputs, (((1,), (1,)), ((0,), (0,))))

    zeros = jnp.zeros((POINTS, x.shape[3], features), x.dtype)
    total = lax.fori_loop(0, batch // size, add, varying_like(zeros, x, y))
    filters = FILTER.astype(x.dtype)
    return jnp.einsum("pi,pqcf,qj->ijcf", filters, total.reshape(IN, IN, *zeros.shape[1:]), filters)


def _tiles(size: tuple[int, int]) -> tuple[int, int]:
    """Number of tiles along height and width."""
    return -(-size[0] // OUT), -(-size[1] // OUT)


def _along_tiles(
    matrix: np.ndarray, images: Float[Array, "batch height width channels"]
) -> Float[Array, "points tiles channels"]:
    """M t M' for all tiles t. Tiles of six pixels share two pixels with the next one."""
    _, pixels = matrix.shape

    def along(axis: int, x: Array) -> list[Array]:
        reach = (x.shape[axis] - pixels) // OUT * OUT + 1
        taken = [lax.slice_in_dim(x, i, i + reach, OUT, axis) for i in range(pixels)]
        return [_weighted_sum(row, taken) for row in matrix]

    values = [value for row in along(1, images) for value in along(2, row)]
    return jnp.stack([value.reshape(-1, images.shape[3]) for value in values])


def _weighted_sum(weights: np.ndarray, arrays: list[Array]) -> Array:
    """The weighted sum, without zeros and without products by one."""
    products = (
        a if weight == 1 else float(weight) * a
        for weight, a in zip(weights, arrays, strict=True)
        if weight
    )
    return sum(products, start=next(products))
