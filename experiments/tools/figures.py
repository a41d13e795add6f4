"""The heading of every figure of a run, and the figures of all classification experiments."""

from collections.abc import Callable
from typing import Any

import jax
import numpy as np

from cnn_jax.data import labels_of
from cnn_jax.models import registered_name
from cnn_jax.training import Experiment, Result
from cnn_jax.visual import (
    NothingToDraw,
    confusion_matrix,
    first_layer_filters,
    training_curves,
    worst_mistakes,
)
from experiments.tools.feature_maps import first_kernel

MISTAKES = 25


def figure_heading(run: str, *experiments: Experiment) -> str:
    """What stands above a figure: the run and its networks.

    Args:
        run: experiment and name, such as "resnet_cifar/1234abcd".
        experiments: those that the figure is about.
    """
    models = (getattr(one.task, "model", None) for one in experiments)
    names = dict.fromkeys(registered_name(model) for model in models if model is not None)
    return f"{run}: {', '.join(names)}" if names else run


def classification_figures() -> dict[str, Callable[[Result], Any]]:
    """Curves, confusion matrix, worst mistakes and first-layer filters, by file name."""
    return {
        "curves": lambda result: training_curves(result.rows, title=_title(result, "training")),
        "confusion": _confusion,
        "mistakes": _mistakes,
        "filters": _filters,
    }


def _confusion(result: Result) -> Any:
    dataset, split = result.experiment.dataset, result.held_out
    labels, predicted = _labels(result), np.argmax(result.outputs(split), axis=-1)
    counts = np.zeros((dataset.num_classes,) * 2, np.int64)
    np.add.at(counts, (labels, predicted), 1)
    return confusion_matrix(counts, dataset.class_names, title=_title(result, split))


def _mistakes(result: Result) -> Any:
    dataset, name = result.experiment.dataset, result.held_out
    labels = _labels(result)
    probabilities = np.asarray(jax.nn.softmax(result.outputs(name), axis=-1))
    of_label = np.where(
        np.argmax(probabilities, axis=-1) == labels,
        np.inf,
        probabilities[np.arange(len(labels)), labels],
    )
    worst = np.argsort(of_label, kind="stable")[:MISTAKES]
    split = dataset.splits[name]
    images = np.stack([split[int(index)]["image"] for index in worst])
    return worst_mistakes(
        images,
        labels[worst],
        probabilities[worst],
        dataset.class_names,
        title=_title(result, name),
        count=MISTAKES,
    )


def _filters(result: Result) -> Any:
    model: Any = result.experiment.task.model
    kernel = first_kernel(model, result.variables, result.experiment.dataset.image_shape)
    if kernel is None:
        raise NothingToDraw("the network has no convolution")
    return first_layer_filters(kernel, title=_title(result, "first-layer filters"))


def _labels(result: Result) -> np.ndarray:
    return labels_of(result.experiment.dataset.splits[result.held_out])


def _title(result: Result, what: str) -> str:
    return f"{result.experiment.dataset.title}, {what}"
