"""A trained network as the start of another: for other classes, channels and images."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn
from flax.traverse_util import flatten_dict, unflatten_dict

from cnn_jax.data import ArraySplit, Dataset
from cnn_jax.data.dataset import channel_statistics
from cnn_jax.errors import ConfigError
from cnn_jax.models.autoencoder import AutoencoderBase, EncoderClassifier
from cnn_jax.pretrained import Network

# The brightness of red, green and blue by ITU-R BT.601.
_LUMA = np.array([0.299, 0.587, 0.114], np.float32)


def with_classes(network: Network, num_classes: int) -> Network:
    """A network as the source of a classifier for other classes.

    Its variables stay as they are; those of an autoencoder become the encoder alone, as the body
    of an `EncoderClassifier`.

    Raises:
        ConfigError: the network is neither a classifier of images nor an autoencoder.
    """
    model, variables = network.model, network.variables
    if isinstance(model, AutoencoderBase):
        body = {"params": {"body": variables["params"]["encoder"]}}
        return replace(network, model=EncoderClassifier(model, num_classes), variables=body)
    if network.preprocessing is None or "body" not in variables["params"]:
        raise ConfigError(
            f"{network.title}: expected a classifier of images with body and head or an "
            f"autoencoder, got the model {type(model).__name__}"
        )
    return replace(network, model=model.clone(num_classes=num_classes))


def transplanted(source: Network, fresh: Mapping[str, Any], image_shape: tuple[int, ...]) -> Any:
    """Fresh variables, replaced by the source's except in layers that depend on the classes.

    The last layer stays fresh even if the number of classes is the same: the classes are different.

    Raises:
        ConfigError: the source's body does not fit.
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
            f"{source.title} does not fit images of shape {tuple(image_shape)}; resize them to its "
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
    """Paths of the variables whose shape depends on the number of classes."""
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
    """The model with BatchNorm as "batch" or "frozen"; unchanged if it has none."""
    has_batch_norm = getattr(model, "norm", None) in ("batch", "frozen")
    return model.clone(norm=norm) if has_batch_norm else model


def with_channels(dataset: Dataset, channels: int) -> Dataset:
    """The data set with another number of channels: gray is repeated, colors become brightness.

    Raises:
        ConfigError: the images are streamed.
    """
    there = dataset.image_shape[-1]
    if there == channels:
        return dataset
    splits = {}
    for name, split in dataset.splits.items():
        if not isinstance(split, ArraySplit):
            raise ConfigError(
                f"{dataset.title} has {there} channels and the network takes {channels}, which a "
                "stream cannot convert: use --data.storage device"
            )
        if there == 1:
            images = np.repeat(split.arrays["image"], channels, axis=-1)
        else:
            images = np.round(split.arrays["image"] @ _LUMA)[..., None].astype(np.uint8)
        splits[name] = ArraySplit({**split.arrays, "image": images})
    mean, std = channel_statistics(splits["train"].arrays["image"])
    return replace(dataset, splits=splits, mean=mean, std=std)
