"""The network whose maps say what the content and the style of a picture are."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import jax
import jax.numpy as jnp
from flax.traverse_util import flatten_dict, unflatten_dict

from cnn_jax import pretrained
from cnn_jax.errors import ConfigError, UserError
from cnn_jax.models import VGG, create_model
from cnn_jax.models.encoder import maps_by_stride
from cnn_jax.pretrained import Network, Preprocessing
from cnn_jax.pretrained.preprocessing import IMAGENET_MEAN, IMAGENET_STD
from cnn_jax.saved_run import load_run
from experiments.tools.feature_maps import check_feature
from experiments.tools.own_network import own_network

PUBLIC = "vgg19"
"""The network of Gatys et al. 2016."""
STYLE_LAYERS = ("conv1_1", "conv2_1", "conv3_1", "conv4_1", "conv5_1")
CONTENT_LAYER = "conv4_2"
"""Theirs, where a VGG has them."""
LARGEST_STRIDE = 16
"""Of the layers that are chosen in other networks."""


@dataclass(frozen=True)
class StyleNetworkConfig:
    """Which network says what content and style are, and by which of its layers."""

    network: str = "auto"
    """auto: public VGG-19, or our own where it cannot be had; own: a small VGG that is trained here
    once, for some minutes; random: VGG-19 with random weights; a name, such as vgg16: its public
    weights; or the directory of a run of a classifier."""
    checkpoint: str = ""
    """With a name: a file of your own in place of the public weights, such as .pth."""
    pooling: Literal["average", "max"] = "average"
    """Of a VGG; average gives smoother pictures (Gatys et al. 2016)."""
    content_layers: tuple[str, ...] = ()
    """Layers of the content; by default conv4_2 of a VGG."""
    style_layers: tuple[str, ...] = ()
    """Layers of the style; by default conv1_1, conv2_1, conv3_1, conv4_1 and conv5_1 of a VGG."""


@dataclass(frozen=True)
class StyleNetwork:
    """A network, and its layers of content and style."""

    model: Any
    variables: Any
    mean: tuple[float, ...]
    std: tuple[float, ...]
    content_layers: tuple[str, ...]
    style_layers: tuple[str, ...]
    title: str
    notes: tuple[str, ...] = ()

    @property
    def least_size(self) -> int:
        """Pixels of the shorter side of an image that still has a pixel in each layer."""
        strides = self.model.feature_strides()
        if isinstance(self.model, VGG):
            return 2 ** len(self.model.stage_sizes)
        return max(strides[layer] for layer in (*self.content_layers, *self.style_layers))

    def features(self, variables: Any, images: jax.Array) -> dict[str, jax.Array]:
        """The maps of RGB images in [0, 1]. The variables are an argument, for `jax.jit`."""
        mean, std = (
            jnp.asarray(one, images.dtype)[None, None, None] for one in (self.mean, self.std)
        )
        return self.model.apply(variables, (images - mean) / std, method="features")


def load_style_network(config: StyleNetworkConfig) -> StyleNetwork:
    """The network that a configuration names, without what its layers do not need.

    Raises:
        ConfigError: an unknown network or layer, or one that takes no RGB images.
        UserError: weights that cannot be had, or files that cannot be read.
    """
    network, notes = _load(config)
    model, variables = network.model, network.variables
    if network.preprocessing is None or len(network.preprocessing.mean) != 3:
        raise ConfigError(f"{network.title} takes no RGB images: name another --network")
    if not getattr(model, "feature_strides", dict)():
        raise ConfigError(f"{network.title} has no feature maps: name another --network")
    content, style = _layers(config, model)
    if isinstance(model, VGG):
        strides = list(model.feature_strides())
        model = model.clone(pooling=config.pooling)
        model = model.until(max((*content, *style), key=strides.index))
        variables = _part(model, variables)
    return StyleNetwork(
        model=model,
        variables=variables,
        mean=network.preprocessing.mean,
        std=network.preprocessing.std,
        content_layers=content,
        style_layers=style,
        title=network.title,
        notes=notes,
    )


def _load(config: StyleNetworkConfig) -> tuple[Network, tuple[str, ...]]:
    name = config.network
    if config.checkpoint and name in ("auto", "own", "random"):
        raise ConfigError(
            f"--checkpoint {config.checkpoint} needs the name of its model, such as "
            f"--network {PUBLIC}, got --network {name}"
        )
    if name == "auto":
        try:
            return pretrained.load(PUBLIC), ()
        except UserError as error:
            reason = str(error).splitlines()[0]
            network = own_network()
            return network, (f"{network.title} takes the place of VGG-19: {reason}",)
    if name == "own":
        return own_network(), ()
    if name == "random":
        return random_network(), ()
    if "/" in name or Path(name).is_dir():
        return load_run(name), ()
    if not config.checkpoint:
        create_model(name)  # names similar models if it is unknown
        return pretrained.load(name), ()
    model = create_model(name)
    return Network(
        model=model,
        variables=pretrained.from_torch(model, config.checkpoint),
        preprocessing=Preprocessing(),
        class_names=(),
        title=f"{name}, {Path(config.checkpoint).name}",
    ), ()


def random_network() -> Network:
    """VGG-19 with random weights, as in He et al. 2016, "A Powerful Generative Model Using Random
    Weights for the Deep Image Representation".
    """
    model = create_model(PUBLIC).until("conv5_1")
    variables = jax.jit(model.init)(jax.random.key(0), jnp.zeros((1, 32, 32, 3)))
    preprocessing = Preprocessing(0, 0, IMAGENET_MEAN, IMAGENET_STD)
    return Network(model, dict(variables), preprocessing, (), "VGG-19 with random weights")


def _layers(config: StyleNetworkConfig, model: Any) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """The layers of content and of style."""
    strides = model.feature_strides()
    for layer in (*config.content_layers, *config.style_layers):
        check_feature(layer, strides)
        if isinstance(model, VGG) and layer.startswith("stage"):
            raise ConfigError(f"the layer {layer!r} is a pooled one: take a convolution's")
    if isinstance(model, VGG):
        style = tuple(layer for layer in STYLE_LAYERS if layer in strides)
        content = CONTENT_LAYER if CONTENT_LAYER in strides else style[-1]
    else:
        by_stride = maps_by_stride(strides)
        style = tuple(names[-1] for stride, names in by_stride.items() if stride <= LARGEST_STRIDE)
        content = style[-1]
    return config.content_layers or (content,), config.style_layers or style


def _part(model: Any, variables: Any) -> Any:
    """The variables of a part of a network."""
    shapes = jax.eval_shape(model.init, jax.random.key(0), jnp.zeros((1, 32, 32, 3)))
    flat = flatten_dict(dict(variables), sep="/")
    return unflatten_dict({path: flat[path] for path in flatten_dict(shapes, sep="/")}, sep="/")
