"""VGG: very deep networks with 3x3 convolutions only.

Source: Simonyan and Zisserman: "Very Deep Convolutional Networks for Large-Scale Image
Recognition", 2014; table 1, columns A, B, D and E. Two 3x3 convolutions see 5x5 pixels, three see
7x7, with fewer parameters and a ReLU after each (section 2.3). The networks are torchvision's, with
its initialization and its weights. "_bn" has BatchNorm after each convolution. Adaptive pooling
allows images of other sizes.
"""

from functools import partial
from typing import Any, Literal, get_args

import jax.numpy as jnp
from flax import linen as nn
from flax.typing import Dtype
from jaxtyping import Array, Float

from cnn_jax.errors import ConfigError
from cnn_jax.layers import (
    Conv,
    Dropout,
    Linear,
    adaptive_avg_pool,
    avg_pool,
    flatten,
    max_pool,
    relu,
)
from cnn_jax.layers.initializers import he_kernel_init
from cnn_jax.models import torch_names
from cnn_jax.models.arrays import Feature, Images, Logits, at_least_float32
from cnn_jax.models.checks import as_num_classes, check_choice, check_images
from cnn_jax.models.classifier import classifier_names, make_classifier
from cnn_jax.models.conv_norm import MakeConv, MakeNorm, OptionalNorm, make_norm
from cnn_jax.models.registry import CIFAR, IMAGENET, register

Pooling = Literal["max", "average"]

zeros = nn.initializers.zeros_init()


class VGGBody(nn.Module):
    """Returns `conv1_1`, … after ReLU and `stage1`, … after pooling."""

    stage_sizes: tuple[int, ...]
    widths: tuple[int, ...]
    ceil_mode: bool
    pooling: Pooling
    conv: MakeConv
    norm: MakeNorm

    @nn.compact
    def __call__(self, images: Images, *, train: bool) -> dict[str, Feature]:
        check_images(images, 1 if self.ceil_mode else 2 ** len(self.stage_sizes))
        pool = avg_pool if self.pooling == "average" else max_pool
        x, features = jnp.asarray(images), {}
        for stage, (size, width) in enumerate(
            zip(self.stage_sizes, self.widths, strict=True), start=1
        ):
            for number in range(1, size + 1):
                x = self.conv(width, 3, padding=1, name=f"conv{stage}_{number}")(x)
                norm = self.norm(name=f"norm{stage}_{number}", activation=relu)
                x = features[f"conv{stage}_{number}"] = norm(x, train=train)
            x = features[f"stage{stage}"] = pool(x, 2, ceil_mode=self.ceil_mode)
        return features


class VGGHead(nn.Module):
    """Three linear layers with dropout after the ReLU of the first two."""

    hidden: tuple[int, int]
    dropout: float
    num_classes: int | None

    @nn.compact
    def __call__(self, x: Float[Array, "batch features"], *, train: bool) -> Logits:
        linear = partial(Linear, kernel_init=nn.initializers.normal(0.01), bias_init=zeros)
        for name, width in zip(("fc6", "fc7"), self.hidden, strict=True):
            x = relu(linear(width, name=name)(x))
            x = Dropout(self.dropout)(x, train=train)
        return linear(self.num_classes, name="fc8")(x) if self.num_classes else x


class VGG(nn.Module):
    """Images to logits [batch, num_classes], float32 or wider.

    `features` returns the maps `conv1_1`, `conv1_2`, … after the ReLU of every convolution, and the
    pooled map after each stage, `stage1`, `stage2`, ….

    Attributes:
        stage_sizes: number of convolutions of each stage.
        widths: number of channels of each stage.
        hidden: number of neurons of the classifier's two hidden layers, after pooling to 7x7. None
            is the CIFAR form: global average pooling and one linear layer.
        dropout: dropout rate after each hidden layer (rng "dropout").
        num_classes: number of outputs; 0 or None gives the features before the last layer.
        ceil_mode: pool the last pixel of an odd map too, as Caffe does and the authors did.
        pooling: "max", or "average", which Gatys et al. 2016 prefer for style transfer.
        norm: "none" leaves BatchNorm out; "frozen" normalizes with the running statistics,
            also in training.
        dtype: dtype of the body's computation, such as bfloat16; parameters, statistics and
            the classifier stay float32. None is that of input and parameters.

    Raises:
        ConfigError: attributes that make no sense; images that are not [batch, height, width,
            channels] or, without `ceil_mode`, that are smaller than the stride of the last stage
            (32 for five stages).
    """

    stage_sizes: tuple[int, ...]
    widths: tuple[int, ...]
    hidden: tuple[int, int] | None = (4096, 4096)
    dropout: float = 0.5
    num_classes: int | None = 1000
    ceil_mode: bool = False
    pooling: Pooling = "max"
    norm: OptionalNorm = "none"
    dtype: Dtype | None = None

    def __post_init__(self) -> None:
        self.num_classes = as_num_classes(self.num_classes)
        check_choice("pooling", self.pooling, get_args(Pooling))
        check_choice("norm", self.norm, ("none", "batch", "frozen"))
        super().__post_init__()

    def setup(self) -> None:
        conv = partial(Conv, dtype=self.dtype, kernel_init=he_kernel_init, bias_init=zeros)
        norm = make_norm(self.norm, dtype=self.dtype)
        self.body = VGGBody(self.stage_sizes, self.widths, self.ceil_mode, self.pooling, conv, norm)
        head: Any = make_classifier(self.num_classes)
        if self.hidden is not None:
            head = VGGHead(self.hidden, self.dropout, self.num_classes)
        self.head = head

    def features(self, x: Images, *, train: bool = False) -> dict[str, Feature]:
        """The feature maps, in forward order."""
        return self.body(x, train=train)

    def __call__(self, x: Images, *, train: bool = False) -> Logits:
        *_, last = self.body(x, train=train).values()
        last = at_least_float32(last)
        if self.hidden is None:
            return self.head(flatten(adaptive_avg_pool(last, 1)))
        return self.head(flatten(adaptive_avg_pool(last, 7)), train=train)

    @nn.nowrap
    def until(self, layer: str) -> "VGG":
        """The network up to a convolution, without its head; its parameters are some of this one's.

        Args:
            layer: such as "conv4_1".

        Raises:
            ConfigError: there is no such convolution.
        """
        if not layer.startswith("conv") or layer not in self.feature_strides():
            known = [name for name in self.feature_strides() if name.startswith("conv")]
            raise ConfigError(f"layer must be one of {', '.join(known)}, got {layer!r}")
        stage, size = map(int, layer.removeprefix("conv").split("_"))
        return self.clone(
            stage_sizes=(*self.stage_sizes[: stage - 1], size),
            widths=self.widths[:stage],
            hidden=None,
            num_classes=0,
        )

    @nn.nowrap
    def feature_strides(self) -> dict[str, int]:
        """Stride of each map of `features`, in pixels of the image."""
        strides: dict[str, int] = {}
        for stage, size in enumerate(self.stage_sizes, start=1):
            strides |= {f"conv{stage}_{n}": 2 ** (stage - 1) for n in range(1, size + 1)}
            strides[f"stage{stage}"] = 2**stage
        return strides

    @nn.nowrap
    def torch_names(self) -> dict[str, str]:
        """Paths of all parameters and statistics in our variables, by torchvision's names."""
        names: dict[str, str] = {}
        position = 0
        for stage, size in enumerate(self.stage_sizes, start=1):
            for number in range(1, size + 1):
                layer, path = f"features.{position}", f"body/conv{stage}_{number}"
                names |= torch_names.conv(layer, path, bias=True)
                position += 1
                if self.norm != "none":
                    layer, path = f"features.{position}", f"body/norm{stage}_{number}"
                    names |= torch_names.norm(layer, path)
                    position += 1
                position += 1  # ReLU
            position += 1  # pooling
        if self.hidden is None:
            return names | classifier_names(self.num_classes, "classifier", "head")
        for position, path in ((0, "head/fc6"), (3, "head/fc7")):
            names |= torch_names.linear(f"classifier.{position}", path)
        return names | classifier_names(self.num_classes, "classifier.6", "head/fc8")


# Trained on CIFAR-10, it stands in for VGG-19 in style transfer.
register(
    "cifar_vgg9",
    VGG,
    CIFAR,
    defaults={"num_classes": 10, "norm": "batch"},
    stage_sizes=(2, 2, 2, 2),
    widths=(32, 64, 128, 128),
    hidden=None,
    dropout=0.0,
)
_STAGE_SIZES = {
    11: (1, 1, 2, 2, 2),
    13: (2, 2, 2, 2, 2),
    16: (2, 2, 3, 3, 3),
    19: (2, 2, 4, 4, 4),
}
# VGG-16 with BatchNorm for CIFAR is from Liu and Deng: "Very Deep Convolutional Neural Network
# Based Image Classification Using Small Training Sample Size", 2015. The classifier with one linear
# layer, and its names, are from github.com/kuangliu/pytorch-cifar.
for _depth, _sizes in _STAGE_SIZES.items():
    _stages: dict[str, Any] = {"stage_sizes": _sizes, "widths": (64, 128, 256, 512, 512)}
    register(f"vgg{_depth}", VGG, IMAGENET, **_stages)
    register(f"vgg{_depth}_bn", VGG, IMAGENET, defaults={"norm": "batch"}, **_stages)
    _defaults = {"num_classes": 10, "norm": "batch"}
    _stages |= {"hidden": None, "dropout": 0.0}
    register(f"cifar_vgg{_depth}", VGG, CIFAR, defaults=_defaults, **_stages)
