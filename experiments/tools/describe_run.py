"""What a run's `config.json` says of its networks and data, for `cnn_jax.load_run`."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from cnn_jax.data import Dataset
from cnn_jax.description import describe
from cnn_jax.pretrained import OnCanvas, Preprocessing
from cnn_jax.training import Experiment


def describe_networks(study: Mapping[str, Experiment], config: Any) -> dict[str, Any]:
    """What `config.json` says of the network and the data of each member of a study.

    Args:
        study: experiments by name; one that is no study has the name "".
        config: their configuration; `config.data.resize` is how their images were resized.

    Raises:
        DescriptionError: a task or module has a field that cannot be described.
    """
    resize = getattr(getattr(config, "data", None), "resize", 0)
    return {
        name: {
            "task": describe(one.task),
            "preprocessing": describe(_preprocessing(one.dataset, resize)),
            "data": _fingerprint(one.dataset),
        }
        for name, one in study.items()
    }


def _preprocessing(dataset: Dataset, resize: int) -> Preprocessing | OnCanvas | None:
    """An image as evaluations saw those of the data set; None if it has no images of bytes."""
    image = dataset.spec.get("image")
    if image is None or image.dtype != np.uint8:
        return None
    height, width, _ = image.shape
    if "boxes" in dataset.spec and "mask" not in dataset.spec:  # objects are to be found
        return OnCanvas((height, width), dataset.mean, dataset.std)
    return Preprocessing(resize, (height, width), dataset.mean, dataset.std)


def _fingerprint(dataset: Dataset) -> dict[str, Any]:
    """What a run depends on of its data; a run whose data differ in it isn't resumed."""
    return {
        "name": dataset.name,
        "title": dataset.title,
        "examples": {name: len(split) for name, split in dataset.splits.items()},
        "spec": {
            name: {"shape": list(one.shape), "dtype": np.dtype(one.dtype).name}
            for name, one in dataset.spec.items()
        },
        "mean": list(dataset.mean),
        "std": list(dataset.std),
        "class_names": list(dataset.class_names),
    }
