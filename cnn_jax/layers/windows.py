"""Geometry shared by convolution, pooling and resizing: pairs, padding and output sizes."""

from typing import NamedTuple

Size = int | tuple[int, int]
"""One number for both axes, or (height, width)."""

Padding = int | tuple[int, int] | tuple[tuple[int, int], tuple[int, int]]
"""One number for all sides, (height, width), or ((top, bottom), (left, right))."""

Pads = tuple[tuple[int, int], tuple[int, int]]


class Geometry(NamedTuple):
    """The arguments of a convolution that are not arrays."""

    stride: tuple[int, int]
    padding: Pads
    dilation: tuple[int, int]
    groups: int


def pair(size: Size) -> tuple[int, int]:
    """A size as (height, width)."""
    return (size, size) if isinstance(size, int) else (size[0], size[1])


def pads(padding: Padding) -> Pads:
    """A padding as ((top, bottom), (left, right))."""
    if isinstance(padding, int):
        return (padding, padding), (padding, padding)
    vertical, horizontal = padding
    return (
        (vertical, vertical) if isinstance(vertical, int) else (vertical[0], vertical[1]),
        (horizontal, horizontal) if isinstance(horizontal, int) else (horizontal[0], horizontal[1]),
    )


def check_steps(stride: tuple[int, int], padding: Pads, dilation: tuple[int, int] = (1, 1)) -> None:
    """Raises a ValueError if a stride or dilation is less than 1 or a padding is negative."""
    if min(stride) < 1 or min(dilation) < 1 or min(padding[0] + padding[1]) < 0:
        raise ValueError(
            f"stride {stride} and dilation {dilation} must be at least 1, padding {padding} "
            "must not be negative"
        )


def output_size(
    image: tuple[int, int],
    window: tuple[int, int],
    stride: tuple[int, int],
    padding: Pads,
    dilation: tuple[int, int] = (1, 1),
    *,
    ceil_mode: bool = False,
) -> tuple[int, int]:
    """Number of window positions along height and width, as in PyTorch.

    Args:
        image, window: (height, width).
        stride, padding, dilation: of the window.
        ceil_mode: whether a last position that reaches beyond the padded image counts, unless it
            begins beyond the image or in the padding at the bottom or right.

    Raises:
        ValueError: if a stride or dilation is less than 1, a padding is negative, or the window is
            larger than the padded image.
    """
    check_steps(stride, padding, dilation)
    extent = tuple((k - 1) * d + 1 for k, d in zip(window, dilation, strict=True))
    counts = []
    for n, e, s, (before, after) in zip(image, extent, stride, padding, strict=True):
        count = (n + before + after - e + (s - 1 if ceil_mode else 0)) // s + 1
        begins_beyond = (count - 1) * s >= n + before
        counts.append(count - 1 if ceil_mode and begins_beyond else count)
    height, width = counts
    if min(window) < 1 or min(counts) < 1:
        padded = tuple(n + sum(p) for n, p in zip(image, padding, strict=True))
        raise ValueError(
            f"a window of {extent[0]}x{extent[1]} does not fit into an image of "
            f"{image[0]}x{image[1]}, {padded[0]}x{padded[1]} with padding; use a larger image, "
            "more padding or a smaller window"
        )
    return height, width


def target_size(image: tuple[int, ...], size: Size) -> tuple[int, int]:
    """(height, width) of an output, checked together with the size of the image.

    Raises:
        ValueError: if the output or the image has no pixels.
    """
    height, width = pair(size)
    if min(height, width, *image) < 1:
        raise ValueError(
            f"sizes must be at least 1x1: got an image of {image[0]}x{image[1]} and an output of "
            f"{height}x{width} (height x width)"
        )
    return height, width
