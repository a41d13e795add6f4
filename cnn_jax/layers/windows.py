"""Geometry shared by convolution, pooling and resizing: pairs, padding and output sizes."""

import operator
from typing import Any, Literal, NamedTuple, SupportsIndex

import numpy as np

from cnn_jax.errors import ConfigError

Size = SupportsIndex | tuple[SupportsIndex, SupportsIndex]
"""One integer for both axes, or (height, width)."""

Padding = Size | tuple[tuple[SupportsIndex, SupportsIndex], tuple[SupportsIndex, SupportsIndex]]
"""One integer for all sides, (height, width), or ((top, bottom), (left, right))."""

ConvPadding = Padding | Literal["same", "valid"]
"""A padding, or PyTorch's name of one."""

Pads = tuple[tuple[int, int], tuple[int, int]]


class Geometry(NamedTuple):
    """The arguments of a convolution that are not arrays."""

    stride: tuple[int, int]
    padding: Pads
    dilation: tuple[int, int]
    groups: int


def pair(name: str, size: Size) -> tuple[int, int]:
    """The argument of that name, a size, as (height, width).

    Raises:
        ConfigError: if it is neither one integer nor two.
    """
    try:
        height, width = _both(size)
        return operator.index(height), operator.index(width)
    except (TypeError, ValueError):
        raise ConfigError(f"{name} must be an integer or (height, width), got {size!r}") from None


def pads(padding: Padding) -> Pads:
    """A padding as ((top, bottom), (left, right)).

    Raises:
        ConfigError: if it is not one integer, two, or two pairs.
    """
    try:
        vertical, horizontal = map(_both, _both(padding))
        top, bottom = map(operator.index, vertical)
        left, right = map(operator.index, horizontal)
    except (TypeError, ValueError):
        raise ConfigError(
            "padding must be an integer, (height, width) or ((top, bottom), (left, right)), "
            f"got {padding!r}"
        ) from None
    return (top, bottom), (left, right)


def conv_pads(
    padding: ConvPadding,
    window: tuple[int, int],
    stride: tuple[int, int],
    dilation: tuple[int, int],
) -> Pads:
    """The padding of a convolution, which may have a name, as ((top, bottom), (left, right)).

    "same" gives the output the size of the image. An odd number of zeros has one more at the
    bottom or right, as in PyTorch. "valid" is no padding.

    Raises:
        ConfigError: an unknown name, "same" with a stride, or as `pads`.
    """
    if not isinstance(padding, str):
        return pads(padding)
    if padding not in ("same", "valid"):
        raise ConfigError(
            "padding must be an integer, (height, width), ((top, bottom), (left, right)), 'same' "
            f"or 'valid', got {padding!r}"
        )
    if padding == "valid":
        return pads(0)
    if stride != (1, 1):
        raise ConfigError(
            f"padding='same' needs a stride of 1, as in PyTorch, got {stride}; give the padding in "
            "pixels, such as half of the kernel"
        )
    vertical, horizontal = ((k - 1) * d for k, d in zip(window, dilation, strict=True))
    return (
        (vertical // 2, vertical - vertical // 2),
        (horizontal // 2, horizontal - horizontal // 2),
    )


def _both(value: Any) -> Any:
    """The value itself if it has parts, else the value twice."""
    return value if isinstance(value, tuple | list | np.ndarray) else (value, value)


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
    height, width = pair("size", size)
    if min(height, width, *image) < 1:
        raise ValueError(
            f"sizes must be at least 1x1: got an image of {image[0]}x{image[1]} and an output of "
            f"{height}x{width} (height x width)"
        )
    return height, width
