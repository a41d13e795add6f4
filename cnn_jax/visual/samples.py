"""Images that a network generates: many at once, and how they are divided over classes."""

from collections.abc import Mapping, Sequence

import numpy as np
from jaxtyping import Float
from matplotlib.figure import Figure

from cnn_jax.visual.mosaic import mosaic
from cnn_jax.visual.pixels import draw_pixels
from cnn_jax.visual.style import (
    GRAY,
    TICK_SIZE,
    AnyArray,
    color_of,
    new_figure,
    plain_axes,
)

_WIDTH = 6.0


def sample_sheet(images: Float[AnyArray, "n height width channels"], *, title: str) -> Figure:
    """Images beside and below each other, as one picture.

    Args:
        images: in [0, 1], gray or RGB.
        title: names the data set and the network.

    Raises:
        ValueError: there is no image, or a wrong number of channels.
    """
    images = np.asarray(images)
    if images.ndim != 4 or not len(images) or images.shape[-1] not in (1, 3):
        raise ValueError(
            f"expected at least one image of shape [n, height, width, 1 or 3], got {images.shape}"
        )
    whole = mosaic(np.clip(images, 0, 1), gap=max(1, images.shape[1] // 16))
    figure = new_figure(_WIDTH, _WIDTH * whole.shape[0] / whole.shape[1], title)
    axes = figure.add_subplot()
    axes.set_axis_off()
    draw_pixels(axes, whole)
    return figure


def class_histogram(
    class_names: Sequence[str],
    shares: Mapping[str, Sequence[float] | AnyArray],
    *,
    title: str,
    least: float = 0.0,
) -> Figure:
    """How several sets of images are divided over the classes, as bars beside each other.

    Args:
        class_names: one for each class, from left to right.
        shares: fraction of each class, by the name of the set.
        title: names the data set, and what has found the classes.
        least: a fraction that is marked by a line; 0 marks none.

    Raises:
        ValueError: there is no class or set, or another number of shares than of classes.
    """
    if not class_names or not shares:
        raise ValueError("nothing to draw: expected at least one class and one set")
    figure = new_figure(max(6.0, 1.5 + 0.75 * len(class_names)), 3.6, title)
    axes = figure.add_subplot()
    places, width = np.arange(len(class_names)), 0.8 / len(shares)
    for number, (name, values) in enumerate(shares.items()):
        if len(values) != len(class_names):
            raise ValueError(f"{name!r} has {len(values)} values for {len(class_names)} classes")
        left = places - 0.4 + width * (number + 0.5)
        axes.bar(left, 100 * np.asarray(values), width, label=name, color=color_of(number))
    if least:
        axes.axhline(100 * least, color=GRAY, linestyle="--", linewidth=1)
    plain_axes(axes, xlabel="class", ylabel="images (%)")
    axes.grid(False, axis="x")
    axes.set_xticks(places, class_names, fontsize=TICK_SIZE, rotation=30, ha="right")
    axes.tick_params(axis="x", length=0)
    axes.legend(fontsize=TICK_SIZE, frameon=False)
    return figure
