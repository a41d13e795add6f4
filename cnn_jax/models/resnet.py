"""Residual networks for CIFAR and for ImageNet, and the plain networks beside them.

Source: He, Zhang, Ren, Sun: "Deep Residual Learning for Image Recognition", 2015; section 4.2 for
the CIFAR family. The ImageNet family is torchvision's (v1.5: the 3x3 convolution of a bottleneck
has the stride), with its initialization and its weights. So are the ResNeXts (Xie et al.:
"Aggregated Residual Transformations for Deep Neural Networks", 2016, section 3) and the wide
networks (Zagoruyko and Komodakis: "Wide Residual Networks", 2016, section 3.4).
"""

from collections.abc import Callable
from functools import partial
from typing import Any, Literal

import jax.numpy as jnp
from flax import linen as nn
from flax.typing import Dtype
from jaxtyping import Array

from cnn_jax.errors import ConfigError
from cnn_jax.layers import Conv, global_avg_pool, max_pool, relu
from cnn_jax.layers.initializers import he_kernel_init
from cnn_jax.models import torch_names
from cnn_jax.models.arrays import Feature, Images, Logits, at_least_float32
from cnn_jax.models.checks import as_num_classes, check_choice, check_images
from cnn_jax.models.classifier import classifier_names, make_classifier
from cnn_jax.models.conv_norm import MakeConv, MakeNorm, Norm, make_norm
from cnn_jax.models.registry import CIFAR, IMAGENET, register

Block = Literal["basic", "bottleneck"]
Shortcut = Literal["A", "B"]
Stem = Literal["cifar", "imagenet"]


class BasicBlock(nn.Module, kw_only=True):
    """Two 3x3 convolutions (figure 2 of the paper; figure 5, left)."""

    width: int
    stride: int
    dilations: tuple[int, int]
    conv: MakeConv
    norm: MakeNorm
    last_norm: MakeNorm
    shortcut: Shortcut | None

    expansion = 1

    @nn.compact
    def __call__(self, x: Array, *, train: bool) -> Array:
        first, second = self.dilations
        y = self.conv(
            self.width, 3, stride=self.stride, padding=first, dilation=first, name="conv1"
        )(x)
        y = self.norm(name="norm1", activation=relu)(y, train=train)
        y = self.conv(self.width, 3, padding=second, dilation=second, name="conv2")(y)
        y = self.last_norm(name="norm2")(y, train=train)
        return relu(_add_shortcut(self, x, y, train))


class BottleneckBlock(nn.Module, kw_only=True):
    """1x1, 3x3 and 1x1 convolution (figure 5, right); with groups, figure 3c of ResNeXt."""

    width: int
    stride: int
    dilations: tuple[int, int]
    groups: int
    width_per_group: int
    conv: MakeConv
    norm: MakeNorm
    last_norm: MakeNorm
    shortcut: Shortcut | None

    expansion = 4

    @nn.compact
    def __call__(self, x: Array, *, train: bool) -> Array:
        inner = self.width * self.width_per_group // 64 * self.groups
        dilation, _ = self.dilations
        y = self.conv(inner, 1, name="conv1")(x)
        y = self.norm(name="norm1", activation=relu)(y, train=train)
        y = self.conv(
            inner,
            3,
            stride=self.stride,
            padding=dilation,
            dilation=dilation,
            groups=self.groups,
            name="conv2",
        )(y)
        y = self.norm(name="norm2", activation=relu)(y, train=train)
        y = self.conv(self.width * self.expansion, 1, name="conv3")(y)
        y = self.last_norm(name="norm3")(y, train=train)
        return relu(_add_shortcut(self, x, y, train))


def _add_shortcut(block: BasicBlock | BottleneckBlock, x: Array, y: Array, train: bool) -> Array:
    """Return y + x, with x in the shape of y by option A or B; in a plain network return y."""
    if block.shortcut is None:
        return y
    if block.stride == 1 and x.shape[-1] == y.shape[-1]:
        return x + y
    if block.shortcut == "A":
        x = x[:, :: block.stride, :: block.stride]
        return jnp.pad(x, ((0, 0), (0, 0), (0, 0), (0, y.shape[-1] - x.shape[-1]))) + y
    x = block.conv(y.shape[-1], 1, stride=block.stride, name="shortcut_conv")(x)
    return block.norm(name="shortcut_norm")(x, train=train) + y


BLOCKS: dict[str, type[BasicBlock | BottleneckBlock]] = {
    "basic": BasicBlock,
    "bottleneck": BottleneckBlock,
}
STEM_STRIDES = {"cifar": 1, "imagenet": 4}


class ResNetBody(nn.Module):
    """Everything before the classifier; returns the maps `stem`, `stage1`, `stage2`, …."""

    stem: Stem
    stage_sizes: tuple[int, ...]
    widths: tuple[int, ...]
    dilated_stages: int
    block: Callable[..., nn.Module]
    conv: MakeConv
    norm: MakeNorm

    @nn.compact
    def __call__(self, images: Images, *, train: bool) -> dict[str, Feature]:
        # As in torchvision, where a map of one pixel is halved to one pixel.
        check_images(images, 1)
        undilated = len(self.stage_sizes) - self.dilated_stages
        if self.stem == "cifar":
            stem_conv = self.conv(self.widths[0], 3, padding=1, name="stem_conv")
        else:
            stem_conv = self.conv(self.widths[0], 7, stride=2, padding=3, name="stem_conv")
        x = self.norm(name="stem_norm", activation=relu)(
            stem_conv(jnp.asarray(images)), train=train
        )
        features = {"stem": x}
        if self.stem == "imagenet":
            x = max_pool(x, 3, 2, padding=1)
        dilation = 1
        for stage, (size, width) in enumerate(
            zip(self.stage_sizes, self.widths, strict=True), start=1
        ):
            stride = 1 if stage == 1 else 2
            # The convolutions after a replaced stride skip the pixels that it would have dropped.
            before = dilation
            if stage > undilated:
                stride, dilation = 1, dilation * stride
            for number in range(1, size + 1):
                first = number == 1
                x = self.block(
                    width=width,
                    stride=stride if first else 1,
                    dilations=(before if first else dilation, dilation),
                    name=f"stage{stage}_block{number}",
                )(x, train=train)
            features[f"stage{stage}"] = x
        return features


class ResNet(nn.Module):
    """Residual network: images to logits [batch, num_classes], float32 or wider.

    `features` returns the maps `stem` (after ReLU, before pooling), `stage1`, `stage2`, ….

    Attributes:
        stem: "cifar" is a 3x3 convolution, "imagenet" a strided 7x7 convolution and max pooling.
            `create_model("resnet18", stem="cifar")` is for small images.
        block: "basic" is two 3x3 convolutions, "bottleneck" a 1x1, a 3x3 and a 1x1 convolution.
        stage_sizes: number of blocks of each stage.
        widths: number of channels of each stage's 3x3 convolutions.
        residual: False removes the identity paths, which gives the plain network.
        groups: number of groups in a bottleneck's 3x3 convolution, ResNeXt's cardinality.
        width_per_group: a bottleneck's 3x3 convolution has width * width_per_group / 64 * groups
            channels.
        num_classes: number of outputs; 0 or None gives the features before the last layer.
        shortcut: how an identity path changes its shape: "A" takes every second pixel and adds
            channels of zeros, without parameters; "B" is a 1x1 convolution with BatchNorm.
        zero_init_residual: initialize the scale of each residual branch's last BatchNorm with
            zero, so that every block starts as the identity (Goyal et al. 2017, section 5.1).
        dilated_stages: number of last stages whose stride is replaced with dilation. 2 is
            torchvision's `replace_stride_with_dilation=(False, True, True)`, which reduces the
            stride of the last map from 32 to 8.
        norm: "frozen" normalizes with the running statistics, also in training.
        norm_eps: added to the variance in BatchNorm.
        dtype: dtype of the body's computation, such as bfloat16; parameters, statistics and
            the classifier stay float32. None is that of input and parameters.

    Raises:
        ConfigError: attributes that make no sense; images that are not [batch, height, width,
            channels].
    """

    stem: Stem
    block: Block
    stage_sizes: tuple[int, ...]
    widths: tuple[int, ...]
    residual: bool = True
    groups: int = 1
    width_per_group: int = 64
    num_classes: int | None = 1000
    shortcut: Shortcut = "B"
    zero_init_residual: bool = False
    dilated_stages: int = 0
    norm: Norm = "batch"
    norm_eps: float = 1e-5
    dtype: Dtype | None = None

    def __post_init__(self) -> None:
        self.num_classes = as_num_classes(self.num_classes)
        check_choice("stem", self.stem, tuple(STEM_STRIDES))
        check_choice("block", self.block, tuple(BLOCKS))
        check_choice("shortcut", self.shortcut, ("A", "B"))
        check_choice("norm", self.norm, ("batch", "frozen"))
        if self.zero_init_residual and not self.residual:
            raise ConfigError(
                "a plain network has no residual branch: zero_init_residual needs residual=True"
            )
        if self.block == "basic" and (self.groups, self.width_per_group) != (1, 64):
            raise ConfigError(
                "a basic block has groups=1 and width_per_group=64, got "
                f"{self.groups} and {self.width_per_group}; set block='bottleneck'"
            )
        if not 0 <= self.dilated_stages < len(self.stage_sizes):
            raise ConfigError(
                f"dilated_stages must be between 0 and {len(self.stage_sizes) - 1}, because the "
                f"first of {len(self.stage_sizes)} stages has no stride, got {self.dilated_stages}"
            )
        super().__post_init__()

    def setup(self) -> None:
        conv = partial(Conv, use_bias=False, dtype=self.dtype, kernel_init=he_kernel_init)
        options = {"eps": self.norm_eps, "dtype": self.dtype}
        norm = last_norm = make_norm(self.norm, **options)
        if self.zero_init_residual:
            zeros = nn.initializers.zeros_init()
            last_norm = make_norm(self.norm, **options, scale_init=zeros)
        block = partial(
            BLOCKS[self.block],
            conv=conv,
            norm=norm,
            last_norm=last_norm,
            shortcut=self.shortcut if self.residual else None,
        )
        if self.block == "bottleneck":
            block = partial(block, groups=self.groups, width_per_group=self.width_per_group)
        self.body = ResNetBody(
            self.stem, self.stage_sizes, self.widths, self.dilated_stages, block, conv, norm
        )
        self.head = make_classifier(self.num_classes)

    def features(self, x: Images, *, train: bool = False) -> dict[str, Feature]:
        """The feature maps, in forward order."""
        return self.body(x, train=train)

    def __call__(self, x: Images, *, train: bool = False) -> Logits:
        *_, last = self.body(x, train=train).values()
        return self.head(global_avg_pool(at_least_float32(last)))

    @nn.nowrap
    def feature_strides(self) -> dict[str, int]:
        """Stride of each map of `features`, in pixels of the image."""
        strides = {"stem": 1 if self.stem == "cifar" else 2}
        undilated = len(self.stage_sizes) - self.dilated_stages
        for stage in range(1, len(self.stage_sizes) + 1):
            strides[f"stage{stage}"] = STEM_STRIDES[self.stem] * 2 ** (min(stage, undilated) - 1)
        return strides

    @nn.nowrap
    def torch_names(self) -> dict[str, str]:
        """Paths of all parameters and statistics in our variables, by torchvision's names."""
        names = torch_names.conv("conv1", "body/stem_conv")
        names |= torch_names.norm("bn1", "body/stem_norm")
        expansion = BLOCKS[self.block].expansion
        convolutions = {"basic": 2, "bottleneck": 3}[self.block]
        channels = self.widths[0]
        for stage, (size, width) in enumerate(
            zip(self.stage_sizes, self.widths, strict=True), start=1
        ):
            for number in range(1, size + 1):
                torch, path = f"layer{stage}.{number - 1}", f"body/stage{stage}_block{number}"
                for i in range(1, convolutions + 1):
                    names |= torch_names.conv(f"{torch}.conv{i}", f"{path}/conv{i}")
                    names |= torch_names.norm(f"{torch}.bn{i}", f"{path}/norm{i}")
                changes = (stage > 1 and number == 1) or channels != width * expansion
                if changes and self.residual and self.shortcut == "B":
                    names |= torch_names.conv(f"{torch}.downsample.0", f"{path}/shortcut_conv")
                    names |= torch_names.norm(f"{torch}.downsample.1", f"{path}/shortcut_norm")
                channels = width * expansion
        return names | classifier_names(self.num_classes, "fc", "head")


_CIFAR_DEFAULTS: dict[str, Any] = {"num_classes": 10, "shortcut": "A"}


def cifar_resnet(depth: int, residual: bool = True, **attributes: Any) -> ResNet:
    """The CIFAR network with 6n + 2 layers (He et al. 2015, section 4.2).

    Args:
        depth: number of layers; 20, 32, 44, 56, 110 and 1202 in the paper.
        residual: False gives the plain network.
        attributes: attributes of `ResNet`; the defaults are 10 classes and option A shortcuts.

    Raises:
        ConfigError: a depth that is not 6n + 2.
    """
    return ResNet(**_cifar_stages(depth), residual=residual, **(_CIFAR_DEFAULTS | attributes))


def _cifar_stages(depth: int) -> dict[str, Any]:
    n, rest = divmod(depth - 2, 6)
    if n < 1 or rest:
        raise ConfigError(
            f"depth {depth} is not 6n + 2; the nearest is {max(1, round((depth - 2) / 6)) * 6 + 2}"
        )
    return {"stem": "cifar", "block": "basic", "stage_sizes": (n, n, n), "widths": (16, 32, 64)}


for _depth in (20, 32, 44, 56, 110, 1202):
    _stages = _cifar_stages(_depth) | {"residual": True}
    register(f"cifar_resnet{_depth}", ResNet, CIFAR, defaults=_CIFAR_DEFAULTS, **_stages)
for _depth in (20, 32, 44, 56, 110):
    _stages = _cifar_stages(_depth) | {"residual": False}
    register(f"cifar_plain{_depth}", ResNet, CIFAR, defaults=_CIFAR_DEFAULTS, **_stages)


def _imagenet(name: str, block: Block, sizes: tuple[int, ...], **attributes: Any) -> None:
    stages: dict[str, Any] = {"stage_sizes": sizes, "widths": (64, 128, 256, 512)}
    defaults = {"stem": "imagenet"}
    register(name, ResNet, IMAGENET, defaults=defaults, block=block, **stages, **attributes)


_imagenet("resnet18", "basic", (2, 2, 2, 2))
_imagenet("resnet34", "basic", (3, 4, 6, 3))
_imagenet("resnet50", "bottleneck", (3, 4, 6, 3))
_imagenet("resnet101", "bottleneck", (3, 4, 23, 3))
_imagenet("resnet152", "bottleneck", (3, 8, 36, 3))
_imagenet("resnext50_32x4d", "bottleneck", (3, 4, 6, 3), groups=32, width_per_group=4)
_imagenet("resnext101_32x8d", "bottleneck", (3, 4, 23, 3), groups=32, width_per_group=8)
_imagenet("wide_resnet50_2", "bottleneck", (3, 4, 6, 3), width_per_group=128)
_imagenet("wide_resnet101_2", "bottleneck", (3, 4, 23, 3), width_per_group=128)
