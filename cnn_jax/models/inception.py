"""Inception v3: GoogLeNet's blocks with large kernels factorized into small and thin ones.

Source: Szegedy, Vanhoucke, Ioffe, Shlens, Wojna 2016, "Rethinking the Inception Architecture for
Computer Vision", table 1. The network is torchvision's, with its weights. Two 3x3 kernels have the
receptive field of a 5x5 kernel with 18/25 of its weights; a 1x7 and a 7x1 kernel that of a 7x7
kernel with 14/49.

`fid_inception_v3` is the network whose features and outputs the Fréchet Inception distance and the
Inception Score compare: TensorFlow's of December 2015, as in pytorch-fid and torch-fidelity, with
their weights. It differs in the branches with pooling and has 1,008 outputs.
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
    avg_pool,
    global_avg_pool,
    max_pool,
    resize_from_corner,
)
from cnn_jax.models import torch_names
from cnn_jax.models.arrays import Feature, Images, Logits, at_least_float32
from cnn_jax.models.checks import as_num_classes, check_choice, check_images
from cnn_jax.models.classifier import classifier_names, make_classifier
from cnn_jax.models.conv_norm import ConvNormReLU, MakeConv, Norm, conv_norm_names, make_norm
from cnn_jax.models.googlenet import from_imagenet_normalization
from cnn_jax.models.inception_blocks import (
    InceptionA,
    InceptionB,
    InceptionC,
    InceptionD,
    InceptionE,
    Pool,
    average_inside,
    average_with_zeros,
    maximum,
)
from cnn_jax.models.registry import register

# Each with its channels where these differ; the names are torchvision's.
BLOCKS: dict[str, tuple[Any, dict[str, int]]] = {
    "Mixed_5b": (InceptionA, {"pool_features": 32}),
    "Mixed_5c": (InceptionA, {"pool_features": 64}),
    "Mixed_5d": (InceptionA, {"pool_features": 64}),
    "Mixed_6a": (InceptionB, {}),
    "Mixed_6b": (InceptionC, {"width": 128}),
    "Mixed_6c": (InceptionC, {"width": 160}),
    "Mixed_6d": (InceptionC, {"width": 160}),
    "Mixed_6e": (InceptionC, {"width": 192}),
    "Mixed_7a": (InceptionD, {}),
    "Mixed_7b": (InceptionE, {}),
    "Mixed_7c": (InceptionE, {}),
}
STEM = ("Conv2d_1a_3x3", "Conv2d_2a_3x3", "Conv2d_2b_3x3", "Conv2d_3b_1x1", "Conv2d_4a_3x3")
Pooling = Literal["torchvision", "tensorflow"]
POOLS: dict[Pooling, tuple[Pool, Pool]] = {
    "torchvision": (average_with_zeros, average_with_zeros),
    "tensorflow": (average_inside, maximum),
}
"""In the branches with pooling: of all blocks but the last, and of the last one."""
AUXILIARY_AT = "mixed_6e"
SMALLEST = 75
SMALLEST_WITH_AUXILIARY = 299

# torchvision truncates at ±2, which has no effect for a standard deviation of 0.1.
normal_init = nn.initializers.normal(0.1)


class AuxiliaryHead(nn.Module):
    """Classifier of an intermediate map of at least 17x17 pixels (figure 8).

    torchvision intends a deviation of 0.01 for the last convolution, but sets it on a module that
    it does not initialize. Its deviation is therefore 0.1, as everywhere else.
    """

    num_classes: int
    conv_block: MakeConv

    @nn.compact
    def __call__(self, x: Array, *, train: bool) -> Array:
        x = self.conv_block(128, 1, name="conv0")(avg_pool(x, 5, 3), train=train)
        x = self.conv_block(768, 5, name="conv1")(x, train=train)
        x = global_avg_pool(at_least_float32(x))
        return Linear(self.num_classes, kernel_init=nn.initializers.normal(0.001), name="fc")(x)


class InceptionBody(nn.Module):
    """Everything before the classifier; returns the maps `stem`, `mixed_5b` to `mixed_7c`."""

    transform_input: bool
    pooling: Pooling
    conv_block: MakeConv

    @nn.compact
    def __call__(self, images: Images, *, train: bool) -> dict[str, Feature]:
        check_images(images, SMALLEST)
        x = jnp.asarray(images)
        if self.transform_input:
            x = from_imagenet_normalization(x)
        x = self.conv_block(32, 3, stride=2, name="conv2d_1a_3x3")(x, train=train)
        x = self.conv_block(32, 3, name="conv2d_2a_3x3")(x, train=train)
        x = self.conv_block(64, 3, padding=1, name="conv2d_2b_3x3")(x, train=train)
        x = max_pool(x, 3, 2)
        x = self.conv_block(80, 1, name="conv2d_3b_1x1")(x, train=train)
        x = self.conv_block(192, 3, name="conv2d_4a_3x3")(x, train=train)
        features = {"stem": x}
        x = max_pool(x, 3, 2)
        *_, last = BLOCKS
        for name, (make_block, channels) in BLOCKS.items():
            pool = POOLS[self.pooling][name == last]
            options = {"pool": pool} if "branch_pool" in make_block.convolutions else {}
            block = make_block(**channels, **options, conv_block=self.conv_block, name=name.lower())
            x = features[name.lower()] = block(x, train=train)
        return features


class InceptionV3(nn.Module):
    """Inception v3: images to logits [batch, num_classes], float32 or wider.

    It is made for images of 299x299 pixels. `features` returns the map `stem` (after the last ReLU,
    before pooling) and the map of each block, `mixed_5b` to `mixed_7c`.

    Attributes:
        num_classes: number of outputs; 0 or None gives the features before the last layer.
        aux_logits: add a classifier at `mixed_6e`. In training the output is then
            `(logits, aux)`, whose losses `tasks.Classification` adds up with `auxiliary_weight`
            (0.4 in TensorFlow-Slim). In evaluation it is not computed.
        transform_input: map images that are normalized by ImageNet's mean and standard deviation
            to the range [-1, 1], which torchvision's weights expect.
        pooling: in the blocks' branches with pooling. "torchvision": averages, in which the zeros
            around the map count. "tensorflow": they do not, and the last block has the maximum.
        dropout: dropout rate before the classifier (rng "dropout").
        norm: "frozen" normalizes with the running statistics, also in training.
        dtype: dtype of the convolutions, such as bfloat16; parameters, statistics and the
            classifiers' linear layers stay float32. None is that of input and parameters.

    Raises:
        ConfigError: images that are not [batch, height, width, channels] or that are smaller than
            75x75 (299x299 in training with `aux_logits`).
    """

    num_classes: int | None = 1000
    aux_logits: bool = False
    transform_input: bool = False
    pooling: Pooling = "torchvision"
    dropout: float = 0.5
    norm: Norm = "batch"
    dtype: Dtype | None = None

    def __post_init__(self) -> None:
        self.num_classes = as_num_classes(self.num_classes)
        if self.aux_logits and not self.num_classes:
            raise ConfigError(
                f"aux_logits={self.aux_logits} needs classes: set num_classes, or aux_logits=False"
            )
        check_choice("norm", self.norm, ("batch", "frozen"))
        check_choice("pooling", self.pooling, get_args(Pooling))
        super().__post_init__()

    def setup(self) -> None:
        conv_block = partial(
            ConvNormReLU,
            conv=partial(Conv, use_bias=False, dtype=self.dtype, kernel_init=normal_init),
            norm=make_norm(self.norm, eps=1e-3, dtype=self.dtype),
        )
        self.body = InceptionBody(self.transform_input, self.pooling, conv_block)
        if self.aux_logits:
            self.aux = AuxiliaryHead(self.num_classes or 0, conv_block)
        self.drop = Dropout(self.dropout)
        self.head = make_classifier(self.num_classes, kernel_init=normal_init)

    def features(self, x: Images, *, train: bool = False) -> dict[str, Feature]:
        """The feature maps, in forward order."""
        return self.body(x, train=train)

    def __call__(self, x: Images, *, train: bool = False) -> Logits | tuple[Logits, Logits]:
        if self.aux_logits and train:
            check_images(x, SMALLEST_WITH_AUXILIARY)
        features = self.body(x, train=train)
        *_, last = features.values()
        pooled = global_avg_pool(at_least_float32(last))
        logits = self.head(self.drop(pooled, train=train))
        if self.aux_logits and train:
            return logits, self.aux(features[AUXILIARY_AT], train=train)
        if self.aux_logits and self.is_initializing():
            # Parameters also exist after an initialization for evaluation or with small images.
            self.aux(jnp.zeros((1, 17, 17, 768)), train=False)
        return logits

    @nn.nowrap
    def feature_strides(self) -> dict[str, int]:
        """Stride of each map of `features`, in pixels of the image."""
        strides, stride = {"stem": 4}, 8
        for name, (block, _) in BLOCKS.items():
            stride *= 2 if block in (InceptionB, InceptionD) else 1
            strides[name.lower()] = stride
        return strides

    @nn.nowrap
    def torch_names(self) -> dict[str, str]:
        """Paths of all parameters and statistics in our variables, by torchvision's names."""
        names: dict[str, str] = {}
        for conv in STEM:
            names |= conv_norm_names(conv, f"body/{conv.lower()}")
        for name, (block, _) in BLOCKS.items():
            for conv in block.convolutions:
                names |= conv_norm_names(f"{name}.{conv}", f"body/{name.lower()}/{conv}")
        if self.aux_logits:
            names |= conv_norm_names("AuxLogits.conv0", "aux/conv0")
            names |= conv_norm_names("AuxLogits.conv1", "aux/conv1")
            names |= torch_names.linear("AuxLogits.fc", "aux/fc")
        return names | classifier_names(self.num_classes, "fc", "head")


def fid_input(
    images: Float[Array, "batch height width 3"], size: int = 299
) -> Float[Array, "batch side side 3"]:
    """The input of `fid_inception_v3` for RGB images of any size.

    They are stretched to a square as TensorFlow 1 does it (`resize_from_corner`) and mapped to
    [-1, 1). Published figures are of exactly this input, as in torch-fidelity; pytorch-fid resizes
    between the centres of pixels.

    Args:
        images: in [0, 255], as floats.
        size: height and width of the result.
    """
    return (resize_from_corner(images, size) - 128) / 128


register("inception_v3", InceptionV3, (299, 299, 3))
register(
    "fid_inception_v3",
    InceptionV3,
    (299, 299, 3),
    defaults={"num_classes": 1008},
    pooling="tensorflow",
)
