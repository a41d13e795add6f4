"""A trained network as the start of another: for other classes, channels and images."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn
from flax.traverse_util import flatten_dict, unflatten_dict

from cnn_jax.errors import ConfigError
from cnn_jax.models import create_model
from cnn_jax.models.autoencoder import AutoencoderBase, EncoderClassifier
from cnn_jax.pretrained import Network, Preprocessing, change_channels, from_torch
from experiments.tools.networks import NetworkConfig, check_scale


def from_checkpoint(config: NetworkConfig, image_shape: tuple[int, ...]) -> Network:
    """The network of a file, whose head may be for other classes, of another kind, or missing.

    Args:
        config: its model, checkpoint, averaged, prefix, mean and std are used.
        image_shape: height, width and channels of the new images.

    Raises:
        ConfigError: unknown model, or weights that do not fit.
        UserError: a file that cannot be read.
    """
    check_scale(config)
    model, (height, width, _) = create_model(config.model), image_shape
    variables = from_torch(
        model,
        config.checkpoint,
        (height, width, len(config.mean)),
        averaged=None if config.averaged else False,
        prefix=config.prefix,
        partial_head=True,
    )
    return Network(
        model=model,
        variables=variables,
        preprocessing=Preprocessing(0, (height, width), config.mean, config.std),
        class_names=(),
        title=f"{config.model}, {Path(config.checkpoint).name}",
    )


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


def with_channels(network: Network, channels: int) -> tuple[Network, tuple[str, ...]]:
    """The network for another number of channels, and what is said of it if it had to change.

    Raises:
        ConfigError: its first layer is no convolution.
    """
    before = len(network.preprocessing.mean)
    if before == channels:
        return network, ()
    if channels == 1:
        how = "is summed over them; mean and standard deviation are averaged"
    else:
        how = f"is repeated and scaled by {before}/{channels}; mean and standard deviation repeat"
    note = (
        f"{network.title} was trained on {before} channels and the images have {channels}: its "
        f"first kernel {how}."
    )
    return change_channels(network, channels), (note,)


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
