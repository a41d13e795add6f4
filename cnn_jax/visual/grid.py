"""Images in rows and columns, with a caption below each."""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float, Int, UInt8
from matplotlib.figure import Figure

from cnn_jax.visual.pixels import draw_pixels
from cnn_jax.visual.sheet import Sheet, write_below
from cnn_jax.visual.style import CAPTION_SIZE, INK, TITLE_SIZE, AnyArray, new_figure
from cnn_jax.visual.text import text_height, wrap_and_cut

_CELL_WIDTH = 1.35
_GAP = 0.12
_MARGIN = 0.15
_CAPTION_LINES = 4


def image_grid(
    images: UInt8[AnyArray, "n height width channels"] | Float[AnyArray, "n height width channels"],
    captions: Sequence[str],
    *,
    title: str,
    columns: int = 8,
) -> Figure:
    """Images from left to right and top to bottom, with captions below them.

    Args:
        images: uint8, or floating point clipped to [0, 1]; gray or RGB.
        captions: one for each image, wrapped to at most four lines.
        title: names the data set and the split.
        columns: images per row.

    Raises:
        ValueError: there is no image or column, or a wrong number of channels or captions.
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

    count, height, width, _ = images.shape
    columns = min(columns, count)
    captions = [
        wrap_and_cut(caption, width=_CELL_WIDTH, size=CAPTION_SIZE, lines=_CAPTION_LINES)
        for caption in captions
    ]
    cell_height = _CELL_WIDTH * height / width
    tops = np.cumsum(
        [0.0]
        + [
            cell_height
            + max(text_height(c, size=CAPTION_SIZE) for c in captions[i : i + columns])
            + _GAP
            for i in range(0, count, columns)
        ]
    )
    grid_width = columns * (_CELL_WIDTH + _GAP) - _GAP
    width = max(grid_width, 4.0)
    sheet = Sheet(width, tops[-1] - _GAP, title, margin=_MARGIN, gap=_GAP)
    for index, (image, caption) in enumerate(zip(images, captions, strict=True)):
        row, column = divmod(index, columns)
        left = (width - grid_width) / 2 + column * (_CELL_WIDTH + _GAP)
        axes = sheet.axes(left, tops[row], _CELL_WIDTH, cell_height)
        draw_pixels(axes, image)
        axes.set_axis_off()
        write_below(axes, caption)
    return sheet.figure


def worst_mistakes(
    images: UInt8[AnyArray, "n height width channels"] | Float[AnyArray, "n height width channels"],
    labels: Int[AnyArray, " n"],
    probabilities: Float[AnyArray, "n classes"],
    class_names: Sequence[str],
    *,
    title: str,
    count: int = 25,
) -> Figure:
    """Misclassified images, starting with the lowest probability of the true class.

    The caption gives the true class and the predicted class, with their probabilities.

    Args:
        images: see `image_grid`.
        labels: true classes.
        probabilities: outputs of the model after softmax.
        class_names: one for each class.
        title: names the data set and the split.
        count: largest number of images.

    Raises:
        ValueError: the lengths differ, a label is not a class, or a row of `probabilities` does
            not sum to 1.
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
            f"probabilities: expected the same number of each"
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
        f"{class_names[labels[i]]} ({_percent(probabilities[i, labels[i]])})\n"
        f"taken for {class_names[predicted[i]]} ({_percent(probabilities[i, predicted[i]])})"
        for i in worst
    ]
    return image_grid(
        images[worst],
        captions,
        title=f"{title}\nmistakes, lowest probability of the true class first",
        columns=5,
    )


def _percent(probability: float) -> str:
    """Two digits; below 1% in a form that tells small probabilities apart."""
    return f"{probability:.0%}" if probability >= 0.01 else f"{100 * probability:.1g}%"
