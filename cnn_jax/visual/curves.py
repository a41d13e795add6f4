"""Curves over the training steps."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

from cnn_jax.visual.style import (
    GRAY,
    PALETTE,
    TICK_SIZE,
    NothingToDraw,
    color_of,
    new_figure,
    plain_axes,
)

Rows = Sequence[Mapping[str, Any]]
_Curve = tuple[np.ndarray, np.ndarray]

PANELS = {
    "loss": "loss",
    "discriminator_loss": "discriminator's loss",
    "feature_fid": "feature FID",
    "accuracy": "accuracy (%)",
    "mean_iou": "mean IoU (%)",
    "learning_rate": "learning rate",
    "grad_norm": "gradient norm",
}
FRACTIONS = ("accuracy", "mean_iou")
"""Quantities that are drawn in per cent."""
_SPLIT_LINES: dict[str, dict[str, Any]] = {
    "train": {"color": PALETTE[0], "linewidth": 1.0},
    "validation": {"color": PALETTE[1], "linewidth": 2.0},
    "test": {"color": PALETTE[2], "linewidth": 2.0},
}
# Points are marked if there are fewer: a line of one point would be invisible.
_MARKED_BELOW = 25


def training_curves(history: Rows, *, title: str) -> Figure:
    """Loss, accuracy or IoU, learning rate and gradient norm over the steps, a line for each split.

    Args:
        history: rows of `metrics.csv`: `step`, `split` and any of `loss`, `accuracy` and
            `mean_iou` (fractions), `learning_rate`, `grad_norm`. Values are numbers or text.
            Missing values, None and empty text are skipped, as are the panels of quantities without
            values.
        title: names the data set.

    Raises:
        NothingToDraw: there is no value.
        ValueError: a row has no `step` or `split`, or a text is not a number.
    """
    splits = dict.fromkeys(str(row.get("split")) for row in history)
    curves = {
        name: {split: curve for split in splits if (curve := read_curve(history, split, name))}
        for name in PANELS
    }
    names = [name for name, lines in curves.items() if lines]
    if not names:
        raise NothingToDraw(
            f"nothing to draw: none of the {len(history)} rows has a value for any of "
            f"{', '.join(PANELS)}"
        )

    rows = math.ceil(len(names) / 2)
    figure = new_figure(10 if len(names) > 1 else 6, 2.9 * rows, title)
    grid = figure.add_gridspec(rows, min(2, len(names)))
    for index, name in enumerate(names):
        alone = index % 2 == 0 and index == len(names) - 1
        axes = figure.add_subplot(grid[index // 2, :] if alone else grid[index // 2, index % 2])
        for split, (steps, values) in curves[name].items():
            axes.plot(
                steps,
                100 * values if name in FRACTIONS else values,
                label=split,
                marker=marker(steps),
                markersize=3.5,
                **_SPLIT_LINES.get(split, {"color": GRAY, "linewidth": 1.0}),
            )
        step_axes(axes, ylabel=PANELS[name])
        if name in ("loss", "grad_norm"):
            _logarithmic_if_wide(axes, [values for _, values in curves[name].values()])
        if len(curves[name]) > 1:
            axes.legend(loc="best", fontsize=TICK_SIZE, frameon=False)
    return figure


def error_curves(runs: Mapping[str, Rows], *, title: str) -> Figure:
    """Errors of several runs over the steps, with train dashed and validation bold.

    The format is that of He et al. 2015 (arXiv:1512.03385), Figure 6. The legend gives the last
    validation error of each run. As in the paper, the axis leaves out the large errors of the first
    steps.

    Args:
        runs: rows by the name of the run, see `training_curves`. Colours repeat after six runs.
        title: names the data set.

    Raises:
        NothingToDraw: a run has no accuracies on `train` and `validation`.
        ValueError: there is no run.
    """
    if not runs:
        raise ValueError("nothing to draw: expected at least one run")
    figure = new_figure(8, 5, title)
    axes = figure.add_subplot()
    handles, errors = [], []
    for index, (name, history) in enumerate(runs.items()):
        color = color_of(index)
        train = read_curve(history, "train", "accuracy")
        validation = read_curve(history, "validation", "accuracy")
        if train is None and validation is None:
            raise NothingToDraw(
                f"run {name!r} has no accuracy in any row whose split is train or validation"
            )
        label = name
        if train is not None:
            error = 100 * (1 - train[1])
            axes.plot(
                train[0], error, color=color, linewidth=0.9, linestyle="--", label=f"{name} train"
            )
            errors.append(error)
        if validation is not None:
            error = 100 * (1 - validation[1])
            axes.plot(
                validation[0],
                error,
                color=color,
                linewidth=2.2,
                marker=marker(validation[0]),
                markersize=4.5,
                label=f"{name} validation",
            )
            errors.append(error)
            label = f"{name}: {error[-1]:.2f}%"
        handles.append(Line2D([], [], color=color, linewidth=2.2, label=label))

    step_axes(axes, ylabel="error (%)")
    axes.set_ylim(0, _upper_limit(errors))
    handles += [
        Line2D([], [], color=GRAY, linewidth=2.2, label="validation"),
        Line2D([], [], color=GRAY, linewidth=0.9, linestyle="--", label="train"),
    ]
    axes.legend(handles=handles, fontsize=TICK_SIZE, frameon=False, loc="best")
    return figure


def read_curve(history: Rows, split: str, name: str) -> _Curve | None:
    """Steps and values of a quantity on a split, sorted by step; None without values."""
    points = []
    for row in history:
        for needed in ("step", "split"):
            if row.get(needed) in (None, ""):
                raise ValueError(f"a row of the history has no {needed!r}: {dict(row)}")
        if row["split"] == split and row.get(name) not in (None, ""):
            try:
                points.append((float(row["step"]), float(row[name])))
            except (TypeError, ValueError) as error:
                raise ValueError(
                    f"expected numbers for 'step' and {name!r}, got {row['step']!r} and "
                    f"{row[name]!r}"
                ) from error
    if not points:
        return None
    steps, values = np.array(sorted(points, key=lambda point: point[0])).T
    return steps, values


def step_axes(axes: Axes, *, ylabel: str) -> None:
    """Label axes over the steps, with ticks at integers."""
    plain_axes(axes, xlabel="step", ylabel=ylabel)
    whole_steps = MaxNLocator(7, steps=[1, 2, 5, 10], integer=True, min_n_ticks=1)
    axes.xaxis.set_major_locator(whole_steps)


def marker(steps: np.ndarray) -> str:
    """The marker of the points of a curve: none if there are many points."""
    return "o" if len(steps) < _MARKED_BELOW else ""


def _logarithmic_if_wide(axes: Axes, curves: Sequence[np.ndarray]) -> None:
    """Make the axis logarithmic if a linear one would flatten the end of the training."""
    values = np.concatenate(curves)
    values = values[np.isfinite(values)]
    if len(values) and values.min() > 0 and values.max() / values.min() > 100:
        axes.set_yscale("log")


def _upper_limit(errors: Sequence[np.ndarray]) -> float:
    """Three times the largest last error, or less if that shows all points."""
    finite = [error[np.isfinite(error)] for error in errors]
    finite = [error for error in finite if len(error)]
    if not finite:
        return 100.0
    everything = 1.05 * max(error.max() for error in finite)
    return float(min(everything, 3 * max(error[-1] for error in finite)) or everything or 1.0)
