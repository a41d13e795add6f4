"""Boxes at every place of a feature map, relative to which a detector gives its boxes.

They depend on sizes alone, so they are NumPy arrays, constants of a compiled program. The order is
row, column, anchor of the place. Numbers are computed in float32, as in torchvision, except the
corners of default boxes, for which it takes the dtype of the maps.
"""

import math
from collections.abc import Sequence

import numpy as np
from jaxtyping import Float32, Float64


def grid_anchors(
    image_size: Sequence[int],
    map_size: Sequence[int],
    sizes: Sequence[float],
    ratios: Sequence[float],
) -> Float32[np.ndarray, "anchors 4"]:
    """The anchors of a map, as torchvision's `AnchorGenerator`.

    Args:
        image_size: (height, width) of the padded image, in pixels.
        map_size: (height, width) of the map; its stride is their quotient, rounded down.
        sizes: square roots of the anchors' areas, in pixels.
        ratios: height / width. At each place all sizes of the first ratio come first.
    """
    roots = np.sqrt(np.asarray(ratios, np.float32))[:, None]
    scales = np.asarray(sizes, np.float32)[None, :]
    widths, heights = (1 / roots * scales).ravel(), (roots * scales).ravel()
    # Rounded, as in torchvision and in Detectron before it.
    cell = np.round(np.stack([-widths, -heights, widths, heights], axis=1) / 2)
    stride_y, stride_x = (pixels // n for pixels, n in zip(image_size, map_size, strict=True))
    x, y = np.meshgrid(np.arange(map_size[1]) * stride_x, np.arange(map_size[0]) * stride_y)
    shifts = np.stack([x, y, x, y], axis=-1).reshape(-1, 1, 4).astype(np.float32)
    return (shifts + cell).reshape(-1, 4)


def default_boxes(
    image_size: Sequence[int],
    map_size: Sequence[int],
    scale: float,
    next_scale: float,
    ratios: Sequence[float],
    step: float | None = None,
) -> Float64[np.ndarray, "anchors 4"]:
    """The default boxes of an SSD at a map (Liu et al. 2016), as torchvision's.

    A square of `scale`, one of the geometric mean with the next scale, and for each ratio a
    broad and a high box. Widths and heights are at most the image's.

    Args:
        image_size: (height, width) in pixels.
        map_size: (height, width) of the map.
        scale: of the boxes, as a part of the image.
        next_scale: that of the next map.
        ratios: width / height of the broad box; the high one is its transpose.
        step: pixels between the boxes; None divides the image evenly.
    """
    between = math.sqrt(scale * next_scale)
    pairs = [(scale, scale), (between, between)]
    for ratio in ratios:
        long, short = scale * math.sqrt(ratio), scale / math.sqrt(ratio)
        pairs += [(long, short), (short, long)]
    half = np.clip(np.asarray(pairs, np.float32), 0, 1).astype(np.float64) / 2
    rows, columns = (n / step for n in image_size) if step else map_size
    x, y = np.meshgrid(
        (np.arange(map_size[1], dtype=np.float32) + 0.5) / np.float32(columns),
        (np.arange(map_size[0], dtype=np.float32) + 0.5) / np.float32(rows),
    )
    centres = np.stack([x, y], axis=-1, dtype=np.float64).reshape(-1, 1, 2)
    corners = np.concatenate([centres - half, centres + half], axis=-1)
    height, width = image_size
    return (corners * np.asarray([width, height] * 2)).reshape(-1, 4)
