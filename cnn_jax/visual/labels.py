"""Labels at points of axes that do not lie over each other."""

from itertools import combinations

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.text import Annotation

_ROUNDS = 100
_GAP = 2.0  # between two labels, in pixels


def move_apart(figure: Figure, axes: Axes) -> None:
    """Move the annotations of axes up and down until none lies over another.

    Labels below their points (`va="top"`) move down only, and those above (`va="bottom"`) up only,
    so that they do not cover the points.

    Args:
        figure: the whole figure; its layout is computed.
        axes: their annotations have `textcoords="offset points"`.
    """
    labels = [text for text in axes.texts if isinstance(text, Annotation)]
    if not labels:
        return
    figure.draw_without_rendering()
    boxes = np.array([label.get_window_extent().get_points() for label in labels])
    (left, bottom), (right, top) = np.moveaxis(boxes, 0, -1).reshape(2, 2, -1)
    ups = np.array([label.get_verticalalignment() != "top" for label in labels])
    downs = np.array([label.get_verticalalignment() != "bottom" for label in labels])
    shift = np.zeros(len(labels))
    for _ in range(_ROUNDS):
        moved = False
        for low, high in combinations(np.argsort(bottom + shift, kind="stable"), 2):
            beside = max(left[low], left[high]) > min(right[low], right[high]) + _GAP
            missing = top[low] + shift[low] + _GAP - (bottom[high] + shift[high])
            if not beside and missing > 0.1:
                # Where neither may move, both do.
                up, down = (ups[high], downs[low]) if ups[high] or downs[low] else (True, True)
                shift[high] += up * missing / (up + down)
                shift[low] -= down * missing / (up + down)
                moved = True
        if not moved:
            break
    for label, pixels in zip(labels, shift, strict=True):
        x, y = label.xyann
        label.xyann = (x, y + float(pixels) * 72 / figure.dpi)
