"""GoogLeNet: blocks of parallel convolutions, made affordable by 1x1 reductions.

Source: Szegedy et al. 2015, "Going Deeper with Convolutions", table 1. The network is that of
torchvision, with its weights: BatchNorm after every convolution, 3x3 kernels instead of the paper's
5x5 kernels, and two auxiliary classifiers that are used in training only.

A 1x1 convolution before each 3x3 and 5x5 convolution reduces the number of channels. Without these
reductions, the nine blocks would need 2,803 million multiplications for an image of 224x224 pixels
instead of 1,020 million, and 17.2 million weights instead of 5.5 million (with the paper's 5x5
kernels 3,948 instead of 1,104 million, and 24.2 instead of 5.8 million).

`cifar_googlenet` is for images of 32x32 pixels, with 5,490,986 parameters for 10 classes. The nine
blocks are the same, on maps of 32, 16 and 8 pixels. The stem is one 3x3 convolution to 192
channels, as in github.com/kuangliu/pytorch-cifar (where a "5x5" branch has two 3x3 convolutions).
"""

from functools import partial
from typing import ClassVar, Literal

import jax.numpy as jnp
import numpy as np
from flax import linen as nn
from flax.typing import Dtype
from jaxtyping import Array

from cnn_jax.errors import ConfigError
from cnn_jax.layers import (
    Conv,
    Dropout,
    Linear,
    adaptive_avg_pool,
    flatten,
    global_avg_pool,
    max_pool,
    relu,
)
from cnn_jax.models import torch_names
from cnn_jax.models.arrays import Feature, Images, Logits, at_least_float32
from cnn_jax.models.checks import as_num_classes, check_choice, check_images
from cnn_jax.models.classifier import classifier_names, make_classifier
from cnn_jax.models.conv_norm import ConvNormReLU, MakeConv, Norm, conv_norm_names, make_norm
from cnn_jax.models.registry import CIFAR, IMAGENET, register

# Channels of a block: 1x1, 3x3 reduce, 3x3, 5x5 reduce, 5x5, pool proj (the columns of table 1).
BLOCKS = {
    "inception3a": (64, 96, 128, 16, 32, 32),
    "inception3b": (128, 128, 192, 32, 96, 64),
    "inception4a": (192, 96, 208, 16, 48, 64),
    "inception4b": (160, 112, 224, 24, 64, 64),
    "inception4c": (128, 128, 256, 24, 64, 64),
    "inception4d": (112, 144, 288, 32, 64, 64),
    "inception4e": (256, 160, 320, 32, 128, 128),
    "inception5a": (256, 160, 320, 32, 128, 128),
    "inception5b": (384, 192, 384, 48, 128, 128),
}
POOLED_BEFORE = {"inception4a": 3, "inception5a": 2}
AUXILIARY_AT = {"aux1": "inception4a", "aux2": "inception4d"}
SMALLEST = {"cifar": 4, "imagenet": 15}

# torchvision truncates at ±2, which has no effect for a standard deviation of 0.01.
normal_init = nn.initializers.normal(0.01)


def from_imagenet_normalization(images: Array) -> Array:
    """Map images normalized by ImageNet's mean and deviation to the range [-1, 1].

    The weights that torchvision converted from TensorFlow expect this range (`transform_input`).

    Raises:
        ConfigError: the images do not have 3 channels.
    """
    if images.shape[-1] != 3:
        raise ConfigError(
            f"transform_input needs images of 3 channels, got shape {images.shape}; set it to False"
        )
    mean, std = np.array([0.485, 0.456, 0.406]), np.array([0.229, 0.224, 0.225])
    scale, shift = std / 0.5, (mean - 0.5) / 0.5
    scale, shift = (array.astype(images.dtype)[None, None, None, :] for array in (scale, shift))
    return images * scale + shift


class InceptionBlock(nn.Module):
    """Four branches side by side (figure 2b): 1x1, 3x3, "5x5", and a projection of the pooled map.

    torchvision's "5x5" branch has a 3x3 kernel (github.com/pytorch/vision, issue 906).
    """

    channels: tuple[int, int, int, int, int, int]
    conv_block: MakeConv

    convolutions: ClassVar[dict[str, str]] = {
        "branch1": "branch1",
        "branch2_reduce": "branch2.0",
        "branch2": "branch2.1",
        "branch3_reduce": "branch3.0",
        "branch3": "branch3.1",
        "branch4": "branch4.1",
    }

    @nn.compact
    def __call__(self, x: Array, *, train: bool) -> Array:
        ones, threes_reduce, threes, fives_reduce, fives, projected = self.channels
        branch1 = self.conv_block(ones, 1, name="branch1")(x, train=train)
        branch2 = self.conv_block(threes_reduce, 1, name="branch2_reduce")(x, train=train)
        branch2 = self.conv_block(threes, 3, padding=1, name="branch2")(branch2, train=train)
        branch3 = self.conv_block(fives_reduce, 1, name="branch3_reduce")(x, train=train)
        branch3 = self.conv_block(fives, 3, padding=1, name="branch3")(branch3, train=train)
        branch4 = self.conv_block(projected, 1, name="branch4")(max_pool(x, 3, 1, 1), train=train)
        return jnp.concatenate([branch1, branch2, branch3, branch4], axis=-1)


class AuxiliaryHead(nn.Module):
    """Classifier of an intermediate map, which adds a gradient to the layers before it."""

    num_classes: int
    dropout: float
    conv_block: MakeConv

    @nn.compact
    def __call__(self, x: Array, *, train: bool) -> Array:
        x = self.conv_block(128, 1, name="conv")(adaptive_avg_pool(x, 4), train=train)
        x = flatten(at_least_float32(x))
        x = relu(Linear(1024, kernel_init=normal_init, name="fc1")(x))
        x = Dropout(self.dropout)(x, train=train)
        return Linear(self.num_classes, kernel_init=normal_init, name="fc2")(x)


class GoogLeNetBody(nn.Module):
    """Everything before the classifier; returns `stem` and `inception3a` to `inception5b`."""

    stem: Literal["cifar", "imagenet"]
    transform_input: bool
    conv_block: MakeConv

    @nn.compact
    def __call__(self, images: Images, *, train: bool) -> dict[str, Feature]:
        check_images(images, SMALLEST[self.stem])
        x = jnp.asarray(images)
        if self.transform_input:
            x = from_imagenet_normalization(x)
        if self.stem == "imagenet":
            x = self.conv_block(64, 7, stride=2, padding=3, name="conv1")(x, train=train)
            x = max_pool(x, 3, 2, ceil_mode=True)
            x = self.conv_block(64, 1, name="conv2")(x, train=train)
        x = self.conv_block(192, 3, padding=1, name="conv3")(x, train=train)
        features = {"stem": x}
        if self.stem == "imagenet":
            x = max_pool(x, 3, 2, ceil_mode=True)
        for name, channels in BLOCKS.items():
            if name in POOLED_BEFORE:
                x = max_pool(x, POOLED_BEFORE[name], 2, ceil_mode=True)
            x = InceptionBlock(channels, self.conv_block, name=name)(x, train=train)
            features[name] = x
        return features


class GoogLeNet(nn.Module):
    """GoogLeNet, Inception v1: images to logits [batch, num_classes], float32 or wider.

    `features` returns the map `stem` (after the last ReLU, before pooling) and the map of each
    block, `inception3a` to `inception5b`.

    Attributes:
        stem: "imagenet" divides height and width by 8 before the first block; "cifar" is its last
            convolution only, 3x3 to 192 channels.
        num_classes: number of outputs; 0 or None gives the features before the last layer.
        aux_logits: add classifiers at `inception4a` and `inception4d`. In training the output is
            then `(logits, aux1, aux2)`, whose losses `tasks.Classification` adds up with
            `auxiliary_weight`. In evaluation they are not computed. torchvision's order is
            (logits, aux2, aux1).
        transform_input: map images that are normalized by ImageNet's mean and standard deviation
            to the range [-1, 1], which torchvision's weights expect.
        dropout: dropout rate before the classifier (rng "dropout").
        dropout_aux: dropout rate before the last layer of each auxiliary classifier.
        norm: "frozen" normalizes with the running statistics, also in training.
        dtype: dtype of the convolutions, such as bfloat16; parameters, statistics and the
            classifiers' linear layers stay float32. None is that of input and parameters.

    Raises:
        ConfigError: images that are not [batch, height, width, channels] or that are smaller than
            15x15 (with the CIFAR stem 4x4).
    """

    stem: Literal["cifar", "imagenet"]
    num_classes: int | None = 1000
    aux_logits: bool = False
    transform_input: bool = False
    dropout: float = 0.2
    dropout_aux: float = 0.7
    norm: Norm = "batch"
    dtype: Dtype | None = None

    def __post_init__(self) -> None:
        self.num_classes = as_num_classes(self.num_classes)
        if self.aux_logits and not self.num_classes:
            raise ConfigError(
                f"aux_logits={self.aux_logits} needs classes: set num_classes, or aux_logits=False"
            )
        check_choice("stem", self.stem, ("cifar", "imagenet"))
        check_choice("norm", self.norm, ("batch", "frozen"))
        super().__post_init__()

    def setup(self) -> None:
        conv_block = partial(
            ConvNormReLU,
            conv=partial(Conv, use_bias=False, dtype=self.dtype, kernel_init=normal_init),
            norm=make_norm(self.norm, eps=1e-3, dtype=self.dtype),
        )
        self.body = GoogLeNetBody(self.stem, self.transform_input, conv_block)
        if self.aux_logits:
            self.aux1 = AuxiliaryHead(self.num_classes or 0, self.dropout_aux, conv_block)
            self.aux2 = AuxiliaryHead(self.num_classes or 0, self.dropout_aux, conv_block)
        self.drop = Dropout(self.dropout)
        self.head = make_classifier(self.num_classes, kernel_init=normal_init)

    def features(self, x: Images, *, train: bool = False) -> dict[str, Feature]:
        """The feature maps, in forward order."""
        return self.body(x, train=train)

    def __call__(self, x: Images, *, train: bool = False) -> Logits | tuple[Logits, Logits, Logits]:
        features = self.body(x, train=train)
        *_, last = features.values()
        pooled = global_avg_pool(at_least_float32(last))
        logits = self.head(self.drop(pooled, train=train))
        # Parameters also exist after an initialization for evaluation.
        if self.aux_logits and (train or self.is_initializing()):
            aux1 = self.aux1(features[AUXILIARY_AT["aux1"]], train=train)
            aux2 = self.aux2(features[AUXILIARY_AT["aux2"]], train=train)
            if train:
                return logits, aux1, aux2
        return logits

    @nn.nowrap
    def feature_strides(self) -> dict[str, int]:
        """Stride of each map of `features`, in pixels of the image."""
        strides, stride = ({"stem": 1}, 1) if self.stem == "cifar" else ({"stem": 4}, 8)
        for name in BLOCKS:
            stride *= 2 if name in POOLED_BEFORE else 1
            strides[name] = stride
        return strides

    @nn.nowrap
    def torch_names(self) -> dict[str, str]:
        """Paths of all parameters and statistics in our variables, by torchvision's names."""
        names: dict[str, str] = {}
        for name in ("conv1", "conv2", "conv3") if self.stem == "imagenet" else ("conv3",):
            names |= conv_norm_names(name, f"body/{name}")
        for block in BLOCKS:
            for branch, torch in InceptionBlock.convolutions.items():
                names |= conv_norm_names(f"{block}.{torch}", f"body/{block}/{branch}")
        for head in AUXILIARY_AT if self.aux_logits else ():
            names |= conv_norm_names(f"{head}.conv", f"{head}/conv")
            names |= torch_names.linear(f"{head}.fc1", f"{head}/fc1")
            names |= torch_names.linear(f"{head}.fc2", f"{head}/fc2")
        return names | classifier_names(self.num_classes, "fc", "head")


register("googlenet", GoogLeNet, IMAGENET, stem="imagenet")
register("cifar_googlenet", GoogLeNet, CIFAR, defaults={"num_classes": 10}, stem="cifar")
