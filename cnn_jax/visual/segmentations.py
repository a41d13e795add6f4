"""Segmented images: one colour for each class."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import matplotlib
import numpy as np
from jaxtyping import Bool, Float, Integer, UInt8
from matplotlib.axes import Axes
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.patches import Patch

from cnn_jax.visual.pixels import draw_pixels
from cnn_jax.visual.sheet import Sheet, write_below
from cnn_jax.visual.style import CAPTION_SIZE, LABEL_SIZE, TICK_SIZE, AnyArray
from cnn_jax.visual.text import text_height, text_width, wrap

IGNORED_COLOUR = "#ffffff"
_BACKGROUND = ("background", "#3a3a3a")
_WRONG = "#D55E00"
_CELL_WIDTH = 2.1
_GAP = 0.08
_MARGIN = 0.15
_LEGEND_LINE = 0.21
_LEGEND_BOX = 0.55  # the coloured box and the space around an entry, in inches
_FAINT = 0.25  # of the image below an error map

Mask = Integer[AnyArray, "height width"]
Colours = UInt8[np.ndarray, "classes 3"]


def class_colours(class_names: Sequence[str]) -> Colours:
    """A colour for each class: 20 that are well apart, then shades around the colour circle.

    A class named "background" is dark grey.
    """
    strong = matplotlib.colormaps["tab20"].colors  # type: ignore[attr-defined]
    colours = [*strong[::2], *strong[1::2]]
    for index in range(len(class_names) - len(colours)):
        # Steps of the golden ratio divide the circle evenly, however many there are.
        hue, shade = index * 0.618 % 1, 0.9 - 0.2 * (index % 3)
        colours.append(tuple(matplotlib.colors.hsv_to_rgb((hue, 0.6, shade))))
    colours = colours[: len(class_names)]
    if _BACKGROUND[0] in class_names:
        place = list(class_names).index(_BACKGROUND[0])
        colours = [*colours[:place], to_rgb(_BACKGROUND[1]), *colours[place:-1]]
    return np.round(255 * np.array(colours).reshape(-1, 3)).astype(np.uint8)


def painted(mask: Mask, colours: Colours) -> UInt8[np.ndarray, "height width 3"]:
    """The colour of each pixel's class; what is no class is white."""
    mask = np.asarray(mask)
    there = (mask >= 0) & (mask < len(colours))
    white = np.full(3, 255, np.uint8)
    return np.where(there[..., None], colours[np.where(there, mask, 0)], white)


def overlaid(
    image: UInt8[AnyArray, "height width channels"],
    mask: Mask,
    colours: Colours,
    *,
    opacity: float = 0.55,
) -> UInt8[np.ndarray, "height width 3"]:
    """The image below the colours of its classes; what is no class is the image itself."""
    pixels = np.broadcast_to(np.asarray(image), (*mask.shape, 3))
    there = ((mask >= 0) & (mask < len(colours)))[..., None]
    mixed = (1 - opacity) * pixels + opacity * painted(mask, colours)
    return np.round(np.where(there, mixed, pixels)).astype(np.uint8)


@dataclass(frozen=True)
class SegmentedImage:
    """An image, its true mask, and the masks that networks predict.

    Attributes:
        image: uint8, gray or RGB.
        truth: the class of each pixel, or another value for none; None if it is not known.
        predictions: masks by the name of the network, the same names for all images of a figure.
        caption: written below the image, such as its IoU.
    """

    image: UInt8[AnyArray, "height width channels"]
    truth: Mask | None
    predictions: Mapping[str, Mask]
    caption: str = ""


def segmentation_rows(
    images: Sequence[SegmentedImage],
    class_names: Sequence[str],
    *,
    title: str,
    outlines: bool = False,
) -> Figure:
    """A row for each image: the image, the truth, each prediction, and a legend of the classes.

    With one prediction, a last column has its wrong pixels over the faint image. All cells have the
    shape of the first image.

    Args:
        images: at least one.
        class_names: one for each class; the legend has those that occur.
        title: names the data set and the split.
        outlines: draws the outlines of the classes over the image, not their colours alone.

    Raises:
        ValueError: there is no image.
    """
    if not images:
        raise ValueError("nothing to draw: expected at least one segmented image")
    colours, first = class_colours(class_names), images[0]
    has_truth = any(one.truth is not None for one in images)
    compares = has_truth and len(first.predictions) == 1
    columns = ["image", *(["truth"] if has_truth else []), *first.predictions]
    columns += ["wrong pixels"] if compares else []
    width = len(columns) * (_CELL_WIDTH + _GAP) - _GAP
    cell_height = _CELL_WIDTH * first.image.shape[0] / first.image.shape[1]
    captions = [wrap(one.caption, width=_CELL_WIDTH, size=CAPTION_SIZE) for one in images]
    row_height = cell_height + _GAP + max(text_height(c, size=CAPTION_SIZE) for c in captions)
    head = text_height("image", size=LABEL_SIZE) + 0.04
    handles = _legend(images, class_names, colours, has_truth)
    entry = max(text_width(str(one.get_label()), size=TICK_SIZE) for one in handles) + _LEGEND_BOX
    across = max(1, min(len(handles), int(width / entry)))
    legend_height = _LEGEND_LINE * math.ceil(len(handles) / across) + 0.1
    height = head + len(images) * row_height + legend_height
    sheet = Sheet(width, height, title, margin=_MARGIN, gap=_GAP)
    for place, name in enumerate(columns):
        left = place * (_CELL_WIDTH + _GAP)
        name = wrap(name, width=_CELL_WIDTH, size=LABEL_SIZE).partition("\n")[0]
        sheet.text(left, head - 0.04, name, va="bottom", size=LABEL_SIZE)
    for row, (one, caption) in enumerate(zip(images, captions, strict=True)):
        masks = [*([one.truth] if has_truth else []), *one.predictions.values()]
        panels: list[tuple[np.ndarray, Mask | None]] = [(np.asarray(one.image), None)]
        panels += [(_mask_pixels(one, mask, colours, outlines), mask) for mask in masks]
        if compares:
            panels.append((_errors(one), None))
        for column, (pixels, mask) in enumerate(panels):
            top = head + row * row_height
            axes = sheet.axes(column * (_CELL_WIDTH + _GAP), top, _CELL_WIDTH, cell_height)
            draw_pixels(axes, pixels)
            axes.set_axis_off()
            if column == 0:
                write_below(axes, caption)
            if outlines and mask is not None:
                _outline(axes, mask)
    sheet.figure.legend(
        handles=handles, loc="lower center", ncols=across, fontsize=TICK_SIZE, frameon=False
    )
    return sheet.figure


def _mask_pixels(
    one: SegmentedImage, mask: Mask | None, colours: Colours, outlines: bool
) -> UInt8[np.ndarray, "height width 3"]:
    shown = np.full(one.image.shape[:2], -1) if mask is None else np.asarray(mask)
    return overlaid(one.image, shown, colours) if outlines else painted(shown, colours)


def _errors(one: SegmentedImage) -> Float[np.ndarray, "height width 3"]:
    """The wrong pixels over the faint image; those without a class are white."""
    if one.truth is None:
        return np.ones((*one.image.shape[:2], 3))
    truth, (predicted,) = np.asarray(one.truth), one.predictions.values()
    gray = np.asarray(one.image, np.float64).mean(axis=-1, keepdims=True) / 255
    faint = np.broadcast_to(1 - _FAINT + _FAINT * gray, (*truth.shape, 3))
    counts = _classes(truth)[..., None]
    wrong = (np.asarray(predicted) != truth)[..., None]
    return np.where(counts, np.where(wrong, to_rgb(_WRONG), faint), 1.0)


def _classes(mask: np.ndarray) -> Bool[np.ndarray, "height width"]:
    return (mask >= 0) & (mask < 255)


def _legend(
    images: Sequence[SegmentedImage],
    class_names: Sequence[str],
    colours: Colours,
    has_truth: bool,
) -> list[Patch]:
    there: set[int] = set()
    for one in images:
        masks = [*one.predictions.values(), *([] if one.truth is None else [one.truth])]
        there.update(*(np.unique(mask).tolist() for mask in masks))
    handles = [
        Patch(facecolor=colours[number] / 255, label=name)
        for number, name in enumerate(class_names)
        if number in there
    ]
    if has_truth and there - set(range(len(class_names))):
        handles.append(Patch(facecolor=IGNORED_COLOUR, edgecolor="#888888", label="not counted"))
    return handles


def _outline(axes: Axes, mask: Mask) -> None:
    mask = np.asarray(mask)
    height, width = mask.shape
    for number in np.unique(mask[_classes(mask)]):
        inside = np.pad(mask == number, 1)
        places = np.arange(-1, width + 1), np.arange(-1, height + 1)
        axes.contour(*places, inside, levels=[0.5], colors=["white"], linewidths=0.8)
    axes.set_xlim(-0.5, width - 0.5)
    axes.set_ylim(height - 0.5, -0.5)
