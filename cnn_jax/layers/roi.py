"""Features of regions of interest (RoIs): parts of a feature map, resized to a fixed size.

Boxes are those of each image, in pixels of the image. `scale` is the map's size relative to it.
Padding among the boxes gives values that mean nothing; a loss leaves them out.
"""

from collections.abc import Sequence
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Float, Int, Shaped

from cnn_jax.layers.arguments import Images, as_images, check_axes, wide
from cnn_jax.layers.boxes import Boxes, box_areas, split_boxes
from cnn_jax.layers.mesh_axes import varying_like
from cnn_jax.layers.windows import Size, pair

BOXES = "batch boxes 4"
Regions = Shaped[Array, BOXES]
Pooled = Float[Array, "batch boxes out_height out_width channels"]


def roi_align(
    x: Images,
    boxes: Regions,
    size: Size,
    *,
    scale: float = 1.0,
    sampling_ratio: int = 0,
    aligned: bool = False,
) -> Pooled:
    """Mean of bilinear samples in each cell of a grid over each box (He et al. 2017, section 3).

    As `torchvision.ops.roi_align`. Samples more than a pixel outside of the map are 0. The gradient
    is that with respect to x; boxes have none.

    Args:
        x: feature maps.
        boxes: (x0, y0, x1, y1) of each image.
        size: cells of a box, one number or (height, width).
        scale: size of the map relative to the image.
        sampling_ratio: samples of a cell along each axis. 0 takes a sample a pixel, rounded up,
            which costs more: a product with the whole map for each box.
        aligned: whether pixels have their centres at half coordinates, as in Detectron2. False is
            half a pixel off, and a box has at least one pixel, as in torchvision's R-CNNs.

    Raises:
        ValueError: for wrong axes, or a size or sampling ratio that is negative.
    """
    x, boxes, size = _checked(x, boxes, size)
    if sampling_ratio < 0:
        raise ValueError(f"sampling_ratio must be at least 0, got {sampling_ratio}")
    dtype = x.dtype
    # In float64, if x is, whatever the dtype of the boxes is, and never in less than float32.
    x = x.astype(wide(x))
    boxes = lax.stop_gradient(boxes).astype(jnp.promote_types(x.dtype, wide(boxes)))
    x0, y0, x1, y1 = (corner * scale - (0.5 if aligned else 0) for corner in split_boxes(boxes))
    least = -jnp.inf if aligned else 1
    height, width = jnp.maximum(y1 - y0, least), jnp.maximum(x1 - x0, least)
    vertical, horizontal = (y0, height), (x0, width)
    if not sampling_ratio:
        # Of all images: a loop whose length differs among them cannot be divided over devices.
        most = tuple(
            jnp.max(jnp.ceil(side / cells), initial=0).astype(jnp.int32)
            for side, cells in zip((height, width), size, strict=True)
        )
        pool = partial(_pool_by_products, size=size, most=most)
        return jax.vmap(pool)(x, vertical, horizontal).astype(dtype)
    flat = x.reshape(len(x), -1, x.shape[-1])
    grid = tuple(jnp.full(1, n) for n in (*x.shape[1:3], 0))
    pool = partial(_pool_by_samples, grid=grid, size=size, number=sampling_ratio)
    return jax.vmap(pool)(flat, vertical, horizontal).astype(dtype)


def pyramid_roi_align(
    levels: Sequence[Array],
    boxes: Regions,
    size: Size,
    *,
    strides: Sequence[int],
    sampling_ratio: int = 2,
    canonical_size: float = 224,
    canonical_level: int = 4,
) -> Pooled:
    """`roi_align` of each box at the level of a feature pyramid that `pyramid_levels` gives it.

    As torchvision's `MultiScaleRoIAlign`, with `aligned` False.

    Args:
        levels: feature maps of the same channels, fine to coarse.
        boxes: (x0, y0, x1, y1) of each image, in pixels.
        size: cells of a box, one number or (height, width).
        strides: pixels of the image for a pixel of each level; each is twice the one before.
        sampling_ratio: samples of a cell along each axis.
        canonical_size, canonical_level: see `pyramid_levels`.

    Raises:
        ValueError: for wrong axes, or a size or sampling ratio that is not positive.
    """
    x, boxes, size = _checked(levels[0], boxes, size)
    if sampling_ratio < 1:
        raise ValueError(f"sampling_ratio must be at least 1, got {sampling_ratio}")
    dtype, boxes = x.dtype, lax.stop_gradient(boxes)
    flat = jnp.concatenate([x.reshape(len(x), -1, x.shape[-1]) for x in levels], axis=1)
    flat = flat.astype(wide(flat))
    lowest = strides[0].bit_length() - 1
    level = pyramid_levels(
        boxes,
        lowest,
        lowest + len(levels) - 1,
        canonical_size=canonical_size,
        canonical_level=canonical_level,
    )
    rows, columns = (np.array([x.shape[axis] for x in levels]) for axis in (1, 2))
    begins = np.cumsum([0, *(rows * columns)[:-1]])
    scales = 1 / np.asarray(strides)
    # A gather from a constant does not know how the batch is divided over devices.
    at_level = [level == lowest + number for number in range(len(levels))]
    scale, *grid = (
        jnp.select(at_level, of_level.tolist()) for of_level in (scales, rows, columns, begins)
    )
    corners = (
        corner.astype(flat.dtype) * scale.astype(flat.dtype) for corner in split_boxes(boxes)
    )
    x0, y0, x1, y1 = corners
    vertical, horizontal = (y0, jnp.maximum(y1 - y0, 1)), (x0, jnp.maximum(x1 - x0, 1))
    pool = partial(_pool_by_samples, size=size, number=sampling_ratio)
    return jax.vmap(pool)(flat, vertical, horizontal, tuple(grid)).astype(dtype)


def roi_pool(x: Images, boxes: Regions, size: Size, *, scale: float = 1.0) -> Pooled:
    """The maximum in each cell of a grid over each box, rounded to pixels (Girshick 2015).

    As `torchvision.ops.roi_pool`: a box has at least one pixel, cells may overlap, and one outside
    of the map is 0. The gradient is that with respect to x; of equal maxima the first has it.

    Args:
        x: feature maps.
        boxes: (x0, y0, x1, y1) of each image.
        size: cells of a box, one number or (height, width).
        scale: size of the map relative to the image.

    Raises:
        ValueError: for wrong axes or a negative size.
    """
    x, boxes, (out_height, out_width) = _checked(x, boxes, size)
    # Halves are rounded up in magnitude, as C's `round` does.
    corners = [jnp.trunc(c * scale + jnp.copysign(0.5, c)) for c in split_boxes(boxes)]
    x0, y0, x1, y1 = map(lax.stop_gradient, corners)
    rows = _cells(y0, y1, out_height, x.shape[1])
    columns = _cells(x0, x1, out_width, x.shape[2])

    def of_box(x: Array, rows: Array, columns: Array) -> Array:
        # The first maximum of each row within the columns, then of these within the rows.
        inside = jnp.where(columns[None, :, :, None], x[:, None], -jnp.inf)
        column = jnp.argmax(inside, axis=2)
        of_rows = jnp.take_along_axis(x, column, axis=1)
        any_column = jnp.any(columns, axis=1)[None, :, None]
        of_rows = jnp.where(any_column, of_rows, -jnp.inf)
        inside = jnp.where(rows[:, :, None, None], of_rows[None], -jnp.inf)
        row = jnp.argmax(inside, axis=1, keepdims=True)
        best = jnp.take_along_axis(of_rows[None], row, axis=1)[:, 0]
        there = jnp.any(rows, axis=1)[:, None, None] & any_column
        return jnp.where(there, best, 0)

    of_image = jax.vmap(of_box, in_axes=(None, 0, 0))
    return jax.vmap(of_image)(x, rows, columns)


def pyramid_levels(
    boxes: Boxes,
    lowest: int,
    highest: int,
    *,
    canonical_size: float = 224,
    canonical_level: int = 4,
) -> Int[Array, "..."]:
    """The level of a feature pyramid for each box (Lin et al. 2017, equation 1).

    A box as large as `canonical_size` squared belongs to the canonical level, one of half the width
    to the level below; level k has the stride 2**k.

    Args:
        boxes: in pixels of the image; those without area have the lowest level.
        lowest: the lowest level there is.
        highest: the highest one.
        canonical_size: in pixels.
        canonical_level: as in torchvision's `MultiScaleRoIAlign`.
    """
    side = jnp.sqrt(jnp.maximum(box_areas(boxes), 0))
    # As in torchvision, the small number keeps a box of exactly that size at its level.
    level = jnp.floor(canonical_level + jnp.log2(side / canonical_size) + 1e-6)
    return jnp.clip(level, lowest, highest).astype(jnp.int32)


def _checked(x: Images, boxes: Regions, size: Size) -> tuple[Array, Array, tuple[int, int]]:
    x, size = as_images(x), pair("size", size)
    check_axes(BOXES, boxes=boxes)
    if min(size) < 1:
        raise ValueError(f"size {size} must be at least 1")
    return x, boxes, size


def _samples(
    start: Array,
    cell: Array,
    cells: int,
    number: Array | int,
    sample: Array,
    pixels: Array | int,
) -> tuple[Array, Array, Array, Array]:
    """Two pixels and their weights for each box, cell and sample, along one axis.

    Args:
        start: of each box, in pixels of the map.
        cell: size of its cells.
        cells: their number.
        number: samples of a cell; an array [boxes, 1] or one number.
        sample: numbers of the samples to give.
        pixels: of the map; an array [boxes, 1, 1] or one number.
    """
    # In torchvision's order of rounding, because a sample beyond the border is 0.
    of_cell = jnp.arange(cells, dtype=cell.dtype)[None] * cell[:, None]
    of_sample = (sample + 0.5).astype(cell.dtype)[None] * cell[:, None] / number
    position = (start[:, None] + of_cell)[..., None] + of_sample[:, None]
    inside = (position >= -1) & (position <= pixels)
    position = jnp.clip(position, 0, pixels - 1)
    low = jnp.floor(position).astype(jnp.int32)
    part = position - low
    return (
        low,
        jnp.minimum(low + 1, pixels - 1),
        jnp.where(inside, 1 - part, 0),
        jnp.where(inside, part, 0),
    )


def _pool_by_samples(
    x: Array,
    vertical: tuple[Array, Array],
    horizontal: tuple[Array, Array],
    grid: tuple[Array, ...],
    size: tuple[int, int],
    number: int,
) -> Array:
    """The same number of samples in every cell: their pixels are gathered.

    Args:
        x: pixels [pixels, channels], of one map or several.
        vertical, horizontal: start and side of each box.
        grid: rows and columns of each box's map, and where it begins among the pixels.
        size: cells of a box.
        number: samples of a cell along each axis.
    """
    sample, axes = jnp.arange(number), []
    rows, columns, begin = (n[:, None, None] for n in grid)
    for (start, side), cells, pixels in (
        (vertical, size[0], rows),
        (horizontal, size[1], columns),
    ):
        low, high, of_low, of_high = _samples(start, side / cells, cells, number, sample, pixels)
        axes.append(((low, of_low), (high, of_high)))
    columns, begin = columns[..., None, None], begin[..., None, None]
    total = jnp.zeros((), x.dtype)
    for row, of_row in axes[0]:
        for column, of_column in axes[1]:
            # [boxes, cells, samples] along each axis.
            pixel = row[:, :, None, :, None] * columns + column[:, None, :, None, :] + begin
            weight = of_row[:, :, None, :, None] * of_column[:, None, :, None, :]
            total += jnp.sum(x[pixel] * weight[..., None].astype(x.dtype), axis=(3, 4))
    return total / number**2


def _pool_by_products(
    x: Array,
    vertical: tuple[Array, Array],
    horizontal: tuple[Array, Array],
    size: tuple[int, int],
    most: tuple[Array, ...],
) -> Array:
    """As many samples in a cell as it has pixels: one matrix for each axis has their weights.

    Args:
        x: the map [height, width, channels].
        vertical, horizontal: start and side of each box.
        size: cells of a box.
        most: the largest number of samples of a cell along each axis.
    """

    def matrix(start: Array, side: Array, cells: int, pixels: int, most: Array) -> Array:
        """The weights [boxes, cells, pixels], each cell's divided by the number of its samples."""
        cell = side / cells
        number = jnp.maximum(jnp.ceil(cell), 0)
        divisor = jnp.maximum(number, 1)

        def add(sample: Array, weights: Array) -> Array:
            low, high, of_low, of_high = _samples(
                start, cell, cells, divisor[:, None], sample[None], pixels
            )
            there = (sample < number)[:, None, None]
            for pixel, weight in ((low, of_low), (high, of_high)):
                hot = pixel == jnp.arange(pixels)[None, None]
                weights += jnp.where(hot & there, weight, 0)
            return weights

        zeros = varying_like(jnp.zeros((len(start), cells, pixels), start.dtype), start, x)
        weights = lax.fori_loop(0, most, add, zeros)
        return (weights / divisor[:, None, None]).astype(x.dtype)

    rows = matrix(*vertical, size[0], x.shape[0], most[0])
    columns = matrix(*horizontal, size[1], x.shape[1], most[1])
    highest = lax.Precision.HIGHEST
    wide_rows = jnp.einsum("nph,hwc->npwc", rows, x, precision=highest)
    return jnp.einsum("nqw,npwc->npqc", columns, wide_rows, precision=highest)


def _cells(start: Array, end: Array, cells: int, pixels: int) -> Array:
    """Which pixels each cell of each box has, along one axis: [batch, boxes, cells, pixels]."""
    start, end = start[..., None, None], end[..., None, None]
    cell = jnp.maximum(end - start + 1, 1) / cells
    number = jnp.arange(cells, dtype=cell.dtype)[None, None, :, None]
    pixel = jnp.arange(pixels)[None, None, None]
    first = jnp.floor(number * cell) + start
    beyond = jnp.ceil((number + 1) * cell) + start
    return (pixel >= first) & (pixel < beyond)
