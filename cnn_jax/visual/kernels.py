"""Kernels and their responses to an image."""

import math
from collections.abc import Mapping

import numpy as np
from jaxtyping import Float
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from cnn_jax.visual.pixels import draw_pixels
from cnn_jax.visual.style import INK, LABEL_SIZE, AnyArray, new_figure

_RESPONSE_WIDTH = 3.0
_KERNEL_WIDTH = 1.5
_NUMBER_SIZE = 7.0
# A few strong edges would make all others gray.
_SHOWN_QUANTILE = 0.995


def kernel_responses(
    kernels: Mapping[str, Float[AnyArray, "kernel_height kernel_width"]],
    responses: Mapping[str, Float[AnyArray, "height width channels"]],
    *,
    title: str,
) -> Figure:
    """Kernels with their numbers, blue below zero and red above, beside their responses.

    Responses with three channels are images, clipped to [0, 1]. In responses with one channel zero
    is middle gray, and the strongest 0.5% are black or white.

    Args:
        kernels: kernels by name.
        responses: responses by the same names.
        title: names the image.

    Raises:
        ValueError: there is no kernel, the names differ, or a response does not have one or three
            channels.
    """
    if not kernels or kernels.keys() != responses.keys():
        raise ValueError(
            f"expected at least one kernel and responses of the same names, got "
            f"{list(kernels)} and {list(responses)}"
        )
    height, width, _ = next(iter(responses.values())).shape
    rows = math.ceil(len(kernels) / 2)
    cell = max(_RESPONSE_WIDTH * height / width, _KERNEL_WIDTH) + 0.35
    figure = new_figure(2 * (_RESPONSE_WIDTH + _KERNEL_WIDTH + 0.4), rows * cell, title)
    grid = figure.subplots(
        rows, 4, squeeze=False, width_ratios=[_KERNEL_WIDTH, _RESPONSE_WIDTH] * 2
    ).reshape(2 * rows, 2)
    for (left, right), (name, kernel) in zip(grid, kernels.items(), strict=False):
        _draw_kernel(left, np.asarray(kernel))
        _draw_response(right, np.asarray(responses[name], np.float32), name)
        right.set_title(name, fontsize=LABEL_SIZE, color=INK)
    for axes in grid.ravel():
        axes.set_axis_off()
    return figure


def _draw_kernel(axes: Axes, kernel: np.ndarray) -> None:
    largest = np.abs(kernel).max() or 1.0
    # Twice the range keeps the colours light enough to read the numbers.
    axes.imshow(kernel, cmap="RdBu_r", vmin=-2 * largest, vmax=2 * largest)
    for (row, column), value in np.ndenumerate(kernel):
        # With more than four letters the numbers of a 5x5 kernel would touch.
        text = f"{round(float(value), 3):g}"
        text = text.replace("0.", ".") if abs(value) < 1 else text
        axes.text(column, row, text, ha="center", va="center", fontsize=_NUMBER_SIZE, color=INK)


def _draw_response(axes: Axes, response: np.ndarray, name: str) -> None:
    channels = response.shape[-1]
    if channels == 3:
        draw_pixels(axes, response)
    elif channels == 1:
        largest = float(np.quantile(np.abs(response), _SHOWN_QUANTILE)) or 1.0
        axes.imshow(response[..., 0], cmap="gray", vmin=-largest, vmax=largest)
    else:
        raise ValueError(f"the response {name!r} has {channels} channels, expected 1 or 3")
