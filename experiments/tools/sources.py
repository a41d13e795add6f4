"""Where a network's first weights come from: a run of one's own, public weights, a file."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn
from flax.traverse_util import flatten_dict, unflatten_dict

from cnn_jax import pretrained
from cnn_jax.data import ArraySplit, Dataset
from cnn_jax.data.dataset import channel_statistics
from cnn_jax.errors import ConfigError
from cnn_jax.models import create_model
from cnn_jax.models.autoencoder import AutoencoderBase, EncoderClassifier
from cnn_jax.training.experiment import Variables
from experiments.tools.saved_run import restore_run

# ITU-R BT.601: how bright red, green and blue look.
_LUMA = np.array([0.299, 0.587, 0.114], np.float32)


@dataclass(frozen=True)
class Source:
    """A network that has been trained on something else.

    Attributes:
        model: a classifier for the new classes, with `body` and `head`.
        variables: as trained; of an autoencoder the encoder alone, as the body.
        mean: of each channel, of images in [0, 1], as the network was trained; subtracted.
        std: of each channel, as the network was trained; divided by.
        title: where it comes from.
    """

    model: nn.Module
    variables: Variables
    mean: tuple[float, ...]
    std: tuple[float, ...]
    title: str


def from_run(directory: str, num_classes: int) -> Source:
    """A classifier of one's own, or an autoencoder's encoder with a new classifier on its code.

    Raises:
        RunDirectoryError: as `restore_run`.
        ConfigError: a run that trained neither.
    """
    run = restore_run(directory)
    model: Any = getattr(run.experiment.task, "model", None)
    dataset, variables = run.experiment.dataset, run.variables
    if isinstance(model, AutoencoderBase):
        variables = {"params": {"body": variables["params"]["encoder"]}}
        model = EncoderClassifier(model, num_classes)
    elif "body" in variables["params"] and hasattr(model, "num_classes"):
        model = model.clone(num_classes=num_classes)
    else:
        raise ConfigError(
            f"{directory} trained {type(model).__name__}, expected a classifier with body and head "
            "or an autoencoder"
        )
    return Source(model, variables, dataset.mean, dataset.std, run.title)


def from_weights(name: str, weights: str, num_classes: int) -> Source:
    """Public weights, as `pretrained.load` gives them."""
    create_model(name)  # an unknown name is said with those that are close
    loaded = pretrained.load(name, weights)
    model = loaded.model.clone(num_classes=num_classes)
    scale = loaded.preprocessing
    return Source(model, loaded.variables, scale.mean, scale.std, f"{name}, {weights}")


def from_checkpoint(
    name: str,
    file: str,
    num_classes: int,
    *,
    there: int,
    image_size: int,
    mean: tuple[float, ...],
    std: tuple[float, ...],
) -> Source:
    """A state dict in a file, of a network for `there` classes and square images."""
    model = create_model(name, num_classes=there)
    variables = pretrained.from_torch(model, file, (image_size, image_size, 3))
    return Source(model.clone(num_classes=num_classes), variables, mean, std, f"{name}, {file}")


def transplanted(source: Source, fresh: Mapping[str, Any], image_shape: tuple[int, ...]) -> Any:
    """Fresh variables with all of the source's but the layers that depend on the classes.

    The last layer stays fresh where the number of classes is the same too: the classes are others.

    Raises:
        ConfigError: a body that the source's does not fit.
    """
    _check_size(source.model, image_shape)
    of_classes = _depend_on_classes(source.model, image_shape)
    new = flatten_dict(dict(fresh), sep="/")
    old = flatten_dict(dict(source.variables), sep="/")
    without_head = not any(path.startswith("params/head/") for path in old)
    wrong = []
    for path, leaf in new.items():
        if path in of_classes or (without_head and path.startswith("params/head/")):
            continue
        if path in old and jnp.shape(old[path]) == jnp.shape(leaf):
            new[path] = old[path]
        else:
            there = jnp.shape(old[path]) if path in old else "missing"
            wrong.append(f"  {path}: {there}, expected {jnp.shape(leaf)}")
    if wrong:
        raise ConfigError(
            f"{source.title} does not fit images of shape {tuple(image_shape)}; take those of its "
            "size with --data.image-size:\n" + "\n".join(wrong[:20])
        )
    return unflatten_dict(new, sep="/")


def _check_size(model: nn.Module, image_shape: tuple[int, ...]) -> None:
    if isinstance(model, EncoderClassifier) and model.autoencoder.image_shape != image_shape:
        raise ConfigError(
            f"the encoder is for images of shape {model.autoencoder.image_shape}, and the data "
            f"set's are {image_shape}; resize them with --data.image-size"
        )


def _depend_on_classes(model: Any, image_shape: tuple[int, ...]) -> set[str]:
    """Paths of the variables that have another shape with another number of classes."""
    image = jax.ShapeDtypeStruct((1, *image_shape), np.float32)
    one, more = (
        flatten_dict(
            jax.eval_shape(
                model.clone(num_classes=model.num_classes + extra).init, jax.random.key(0), image
            ),
            sep="/",
        )
        for extra in (0, 1)
    )
    return {path for path in one if one[path].shape != more[path].shape}


def with_norm(model: Any, norm: str) -> Any:
    """The model with BatchNorm as "batch" or "frozen"; one without any as it is."""
    has_batch_norm = getattr(model, "norm", None) in ("batch", "frozen")
    return model.clone(norm=norm) if has_batch_norm else model


def with_channels(dataset: Dataset, channels: int) -> Dataset:
    """The data set in as many channels: gray repeated to three, or colours as their brightness.

    Raises:
        ConfigError: images that are streamed.
    """
    there = dataset.image_shape[-1]
    if there == channels:
        return dataset
    splits = {}
    for name, split in dataset.splits.items():
        if not isinstance(split, ArraySplit):
            raise ConfigError(
                f"{dataset.title} has {there} channels and the network's images {channels}, which "
                "cannot be mended in a stream: --data.storage device"
            )
        if there == 1:
            images = np.repeat(split.arrays["image"], channels, axis=-1)
        else:
            images = np.round(split.arrays["image"] @ _LUMA)[..., None].astype(np.uint8)
        splits[name] = ArraySplit({**split.arrays, "image": images})
    mean, std = channel_statistics(splits["train"].arrays["image"])
    return replace(dataset, splits=splits, mean=mean, std=std)
