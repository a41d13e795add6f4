"""Images in rows and columns, with a caption below each."""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float, Int, UInt8
from matplotlib.figure import Figure

from cnn_jax.visual.style import (
    CAPTION_SIZE,
    INK,
    TITLE_SIZE,
    AnyArray,
    new_figure,
    text_height,
    wrap,
)

_CELL_WIDTH = 1.35
_GAP = 0.12
_MARGIN = 0.15
_CAPTION_LINES = 4
# Smaller images are shown as the pixels they are, larger ones are resampled smoothly.
_PIXELS_UP_TO = 64


def image_grid(
    images: UInt8[AnyArray, "n height width channels"] | Float[AnyArray, "n height width channels"],
    captions: Sequence[str],
    *,
    title: str,
    columns: int = 8,
) -> Figure:
    """Images from left to right and top to bottom, each with its caption below.

    Args:
        images: uint8, or floating point in [0, 1] (what lies outside is clipped); one channel
            (gray) or three (RGB).
        captions: one for each image; long ones are wrapped, and cut after four lines.
        title: names the data set and the split.
        columns: images in a row.

    Raises:
        ValueError: no image, another number of channels or captions, or no column.
    """
    images = np.asarray(images)
    if images.ndim != 4 or images.shape[-1] not in (1, 3):
        raise ValueError(f"expected images of shape [n, height, width, 1 or 3], got {images.shape}")
    if not len(images):
        raise ValueError("expected at least one image, got none")
    if len(captions) != len(images):
        raise ValueError(f"{len(images)} images need as many captions, got {len(captions)}")
    if columns < 1:
        raise ValueError(f"expected at least one column, got {columns}")

    count, height, width, channels = images.shape
    columns = min(columns, count)
    captions = [_caption(caption) for caption in captions]
    cell_height = _CELL_WIDTH * height / width
    # For each row of images the distance of its top from that of the row before it.
    tops = np.cumsum(
        [0.0]
        + [
            cell_height
            + max(text_height(c, size=CAPTION_SIZE) for c in captions[i : i + columns])
            + _GAP
            for i in range(0, count, columns)
        ]
    )

    # Axes are placed by hand: a constrained layout of a hundred axes takes seconds.
    grid_width = columns * (_CELL_WIDTH + _GAP) - _GAP
    figure_width = max(grid_width, 4.0) + 2 * _MARGIN
    left = (figure_width - grid_width) / 2
    title = wrap(title, width=figure_width - 2 * _MARGIN, size=TITLE_SIZE)
    top = _MARGIN + text_height(title, size=TITLE_SIZE) + (_GAP if title else 0)
    figure_height = top + tops[-1] + _MARGIN - _GAP
    figure = Figure(figsize=(figure_width, figure_height), facecolor="white")
    figure.text(
        0.5, 1 - _MARGIN / figure_height, title, ha="center", va="top", size=TITLE_SIZE, color=INK
    )
    for index, (image, caption) in enumerate(zip(images, captions, strict=True)):
        row, column = divmod(index, columns)
        axes = figure.add_axes(
            (
                (left + column * (_CELL_WIDTH + _GAP)) / figure_width,
                1 - (top + tops[row] + cell_height) / figure_height,
                _CELL_WIDTH / figure_width,
                cell_height / figure_height,
            )
        )
        pixels = image if image.dtype == np.uint8 else np.clip(image.astype(np.float32), 0, 1)
        axes.imshow(
            pixels[..., 0] if channels == 1 else pixels,
            cmap="gray",
            vmin=0,
            vmax=255 if pixels.dtype == np.uint8 else 1,
            interpolation="nearest" if max(height, width) <= _PIXELS_UP_TO else "antialiased",
        )
        axes.set_axis_off()
        axes.annotate(
            caption,
            (0.5, 0),
            xytext=(0, -2),
            xycoords="axes fraction",
            textcoords="offset points",
            ha="center",
            va="top",
            size=CAPTION_SIZE,
            color=INK,
        )
    return figure


def worst_mistakes(
    images: UInt8[AnyArray, "n height width channels"] | Float[AnyArray, "n height width channels"],
    labels: Int[AnyArray, " n"],
    probabilities: Float[AnyArray, "n classes"],
    class_names: Sequence[str],
    *,
    title: str,
    count: int = 25,
) -> Figure:
    """The wrongly classified images whose true class was given the least probability, worst first.

    The caption is the true class, below it the predicted one with its probability. Without any
    mistake the figure says so. `images` may be a selection, as long as the worst are in it.

    Args:
        images: as for `image_grid`.
        labels: true classes.
        probabilities: the model's, softmax already taken.
        class_names: one for each class.
        title: names the data set and the split.
        count: the most images shown.

    Raises:
        ValueError: lengths that do not fit together, a label outside the classes, rows of
            `probabilities` that do not sum to 1.
    """
    images, labels, probabilities = map(np.asarray, (images, labels, probabilities))
    if probabilities.ndim != 2 or probabilities.shape[1] != len(class_names):
        raise ValueError(
            f"expected probabilities of shape [n, {len(class_names)}], one for each class name, "
            f"got {probabilities.shape}"
        )
    if not len(images) == len(labels) == len(probabilities):
        raise ValueError(
            f"{len(images)} images, {len(labels)} labels and {len(probabilities)} rows of "
            f"probabilities: expected as many of each"
        )
    if len(labels) and not (labels.min() >= 0 and labels.max() < len(class_names)):
        raise ValueError(
            f"labels from {labels.min()} to {labels.max()} are not all among the "
            f"{len(class_names)} classes"
        )
    probabilities = probabilities.astype(np.float64)
    sums = probabilities.sum(axis=1)
    if np.any(probabilities < 0) or not np.allclose(sums, 1, atol=0.02):
        raise ValueError(
            "probabilities must not be negative and each row must sum to 1 "
            f"(sums from {sums.min():.3g} to {sums.max():.3g}); pass softmax(logits), not logits"
        )

    predicted = probabilities.argmax(axis=1)
    mistakes = np.flatnonzero(predicted != labels)
    of_true_class = probabilities[mistakes, labels[mistakes]]
    worst = mistakes[np.argsort(of_true_class, kind="stable")][:count]
    if not len(worst):
        figure = new_figure(5, 1, title)
        axes = figure.add_subplot()
        axes.set_axis_off()
        axes.text(0.5, 0.5, "no mistakes", ha="center", va="center", size=TITLE_SIZE, color=INK)
        return figure
    captions = [
        f"{class_names[labels[i]]}\ntaken for {class_names[predicted[i]]} "
        f"({probabilities[i, predicted[i]]:.0%})"
        for i in worst
    ]
    return image_grid(
        images[worst],
        captions,
        title=f"{title}\nworst mistakes first",
        columns=5,
    )


def _caption(text: str) -> str:
    lines = wrap(text, width=_CELL_WIDTH, size=CAPTION_SIZE).split("\n")
    if len(lines) > _CAPTION_LINES:
        last = lines[_CAPTION_LINES - 1]
        # The ellipsis needs about the room of two letters.
        lines = [*lines[: _CAPTION_LINES - 1], last[: max(1, len(last) - 2)].rstrip() + "…"]
    return "\n".join(lines)
