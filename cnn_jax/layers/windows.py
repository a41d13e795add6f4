"""Geometry shared by convolution and pooling: pairs of sizes, padding and output sizes."""

Size = int | tuple[int, int]
"""One number for both axes, or (height, width)."""

Padding = int | tuple[int, int] | tuple[tuple[int, int], tuple[int, int]]
"""One number for all sides, (height, width), or ((top, bottom), (left, right))."""

Pads = tuple[tuple[int, int], tuple[int, int]]


def pair(size: Size) -> tuple[int, int]:
    """(height, width) of a size given as one number or as a pair."""
    return (size, size) if isinstance(size, int) else (size[0], size[1])


def pads(padding: Padding) -> Pads:
    """((top, bottom), (left, right)) of a padding in any of its forms."""
    if isinstance(padding, int):
        return (padding, padding), (padding, padding)
    vertical, horizontal = padding
    return (
        (vertical, vertical) if isinstance(vertical, int) else (vertical[0], vertical[1]),
        (horizontal, horizontal) if isinstance(horizontal, int) else (horizontal[0], horizontal[1]),
    )


def output_size(
    image: tuple[int, int],
    window: tuple[int, int],
    stride: tuple[int, int],
    padding: Pads,
    dilation: tuple[int, int] = (1, 1),
) -> tuple[int, int]:
    """Number of window positions along height and width, floor as PyTorch's default.

    Raises:
        ValueError: a stride or dilation below one, a negative padding, or a window larger than
            the padded image.
    """
    if min(stride) < 1 or min(dilation) < 1 or min(padding[0] + padding[1]) < 0:
        raise ValueError(
            f"stride {stride} and dilation {dilation} must be at least 1, padding {padding} "
            "must not be negative"
        )
    padded = tuple(n + sum(p) for n, p in zip(image, padding, strict=True))
    extent = tuple((k - 1) * d + 1 for k, d in zip(window, dilation, strict=True))
    if min(window) < 1 or any(e > n for e, n in zip(extent, padded, strict=True)):
        raise ValueError(
            f"a window of {extent[0]}x{extent[1]} does not fit into an image of "
            f"{image[0]}x{image[1]}, {padded[0]}x{padded[1]} with padding; use a larger image, "
            "more padding or a smaller window"
        )
    height, width = ((n - e) // s + 1 for n, e, s in zip(padded, extent, stride, strict=True))
    return height, width
