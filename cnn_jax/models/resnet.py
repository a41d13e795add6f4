"""Residual networks for CIFAR and for ImageNet, and the plain networks beside them.

Source: He, Zhang, Ren, Sun: "Deep Residual Learning for Image Recognition", 2015; section 4.2 for
the CIFAR family. The ImageNet family is torchvision's (v1.5: a bottleneck strides in its 3x3
convolution), with its initialization, and takes its weights; so are the ResNeXts (Xie et al.:
"Aggregated Residual Transformations for Deep Neural Networks", 2016, section 3) and the wide
networks (Zagoruyko and Komodakis: "Wide Residual Networks", 2016, section 3.4).
"""

from collections.abc import Callable
from functools import partial
from typing import Any, Literal

import jax.numpy as jnp
import numpy as np
from flax import linen as nn
from flax.typing import Dtype
from jaxtyping import Array, Float

from cnn_jax.errors import ConfigError
from cnn_jax.layers import BatchNorm, Conv, Linear, global_avg_pool, max_pool, relu
from cnn_jax.layers.initializers import he_kernel_init
from cnn_jax.models import torch_names
from cnn_jax.models.checks import check_choice, check_images
from cnn_jax.models.registry import register

Images = Float[Array | np.ndarray, "batch height width channels"]
Feature = Float[Array, "batch out_height out_width features"]
Layer = Callable[..., nn.Module]
Block = Literal["basic", "bottleneck"]
Shortcut = Literal["A", "B"]


class BasicBlock(nn.Module):
    """Two 3x3 convolutions (figure 2 of the paper; figure 5, left)."""

    width: int
    stride: int
    conv: Layer
    norm: Layer
    last_norm: Layer
    shortcut: Shortcut | None

    expansion = 1

    @nn.compact
    def __call__(self, x: Array, *, train: bool) -> Array:
        y = self.conv(self.width, 3, self.stride, padding=1, name="conv1")(x)
        y = relu(self.norm(name="norm1")(y, train=train))
        y = self.conv(self.width, 3, padding=1, name="conv2")(y)
        y = self.last_norm(name="norm2")(y, train=train)
        return relu(_add_shortcut(self, x, y, train))


class BottleneckBlock(nn.Module):
    """1x1, 3x3 and 1x1 convolution (figure 5, right); with groups, figure 3c of ResNeXt."""

    width: int
    stride: int
    conv: Layer
    norm: Layer
    last_norm: Layer
    shortcut: Shortcut | None
    groups: int
    width_per_group: int

    expansion = 4

    @nn.compact
    def __call__(self, x: Array, *, train: bool) -> Array:
        inner, groups = self.width * self.width_per_group // 64 * self.groups, self.groups
        y = self.conv(inner, 1, name="conv1")(x)
        y = relu(self.norm(name="norm1")(y, train=train))
        y = self.conv(inner, 3, self.stride, padding=1, groups=groups, name="conv2")(y)
        y = relu(self.norm(name="norm2")(y, train=train))
        y = self.conv(self.width * self.expansion, 1, name="conv3")(y)
        y = self.last_norm(name="norm3")(y, train=train)
        return relu(_add_shortcut(self, x, y, train))


def _add_shortcut(block: BasicBlock | BottleneckBlock, x: Array, y: Array, train: bool) -> Array:
    """Return y + x, where x takes the shape of y by option A or B; y alone in a plain network."""
    if block.shortcut is None:
        return y
    if block.stride == 1 and x.shape[-1] == y.shape[-1]:
        return x + y
    if block.shortcut == "A":
        x = x[:, :: block.stride, :: block.stride]
        return jnp.pad(x, ((0, 0), (0, 0), (0, 0), (0, y.shape[-1] - x.shape[-1]))) + y
    x = block.conv(y.shape[-1], 1, block.stride, name="shortcut_conv")(x)
    return block.norm(name="shortcut_norm")(x, train=train) + y


BLOCKS: dict[str, type[BasicBlock | BottleneckBlock]] = {
    "basic": BasicBlock,
    "bottleneck": BottleneckBlock,
}
STEM_STRIDES = {"cifar": 1, "imagenet": 4}


class ResNetBody(nn.Module):
    """Everything before the classifier; gives the maps `stem`, `stage1`, `stage2` and so on."""

    stem: Literal["cifar", "imagenet"]
    stage_sizes: tuple[int, ...]
    widths: tuple[int, ...]
    block: Layer
    conv: Layer
    norm: Layer

    @nn.compact
    def __call__(self, images: Images, *, train: bool) -> dict[str, Feature]:
        check_images(images, STEM_STRIDES[self.stem] * 2 ** (len(self.stage_sizes) - 1))
        if self.stem == "cifar":
            stem_conv = self.conv(self.widths[0], 3, padding=1, name="stem_conv")
        else:
            stem_conv = self.conv(self.widths[0], 7, 2, padding=3, name="stem_conv")
        x = relu(self.norm(name="stem_norm")(stem_conv(jnp.asarray(images)), train=train))
        features = {"stem": x}
        if self.stem == "imagenet":
            x = max_pool(x, 3, 2, padding=1)
        for stage, (size, width) in enumerate(
            zip(self.stage_sizes, self.widths, strict=True), start=1
        ):
            for number in range(1, size + 1):
                stride = 2 if stage > 1 and number == 1 else 1
                x = self.block(width, stride, name=f"stage{stage}_block{number}")(x, train=train)
            features[f"stage{stage}"] = x
        return features


class ResNet(nn.Module):
    """Residual network: images to logits [batch, num_classes], float32 or wider.

    `features` gives the maps `stem` (after its ReLU, before pooling), `stage1`, `stage2`, ….

    Attributes:
        stem: "cifar" is a 3x3 convolution, "imagenet" a strided 7x7 one and max pooling.
        block: two 3x3 convolutions or a bottleneck.
        stage_sizes: number of blocks of each stage.
        widths: number of channels of each stage's 3x3 convolutions.
        residual: False leaves out the identity paths: the plain network.
        groups: of a bottleneck's 3x3 convolution, ResNeXt's cardinality.
        width_per_group: channels of each group for a stage of width 64, and in proportion for the
            others: a bottleneck's 3x3 convolution has width * width_per_group / 64 * groups.
        num_classes: number of outputs.
        shortcut: how an identity path changes its shape: "A" takes every second pixel and adds
            channels of zeros, without parameters; "B" is a 1x1 convolution with BatchNorm.
        zero_init_residual: start with zero as the scale of each residual branch's last BatchNorm,
            so that every block begins as the identity (Goyal et al. 2017, section 5.1).
        norm: "frozen" normalizes with the running statistics, in training too.
        dtype: dtype of the body's computation, such as bfloat16; parameters, statistics and
            the classifier stay float32. None is that of input and parameters.
        axis_name: mapped axis (`pmap`) over whose devices BatchNorm's statistics are taken.

    Raises:
        ConfigError: images that are not [batch, height, width, channels] or smaller than the
            stride of the last stage (4 for three CIFAR stages, 32 for four ImageNet stages).
    """

    stem: Literal["cifar", "imagenet"]
    block: Block
    stage_sizes: tuple[int, ...]
    widths: tuple[int, ...]
    residual: bool = True
    groups: int = 1
    width_per_group: int = 64
    num_classes: int = 1000
    shortcut: Shortcut = "B"
    zero_init_residual: bool = False
    norm: Literal["batch", "frozen"] = "batch"
    dtype: Dtype | None = None
    axis_name: str | None = None

    def __post_init__(self) -> None:
        check_choice("shortcut", self.shortcut, ("A", "B"))
        check_choice("norm", self.norm, ("batch", "frozen"))
        if self.zero_init_residual and not self.residual:
            raise ConfigError(
                "a plain network has no residual branch: zero_init_residual needs residual=True"
            )
        if self.block == "basic" and (self.groups, self.width_per_group) != (1, 64):
            raise ConfigError(
                "groups and width_per_group are a bottleneck's: a basic block has 1 and 64, got "
                f"{self.groups} and {self.width_per_group}; set block='bottleneck'"
            )
        super().__post_init__()

    def setup(self) -> None:
        conv = partial(Conv, use_bias=False, dtype=self.dtype, kernel_init=he_kernel_init)
        norm = partial(
            BatchNorm, frozen=self.norm == "frozen", axis_name=self.axis_name, dtype=self.dtype
        )
        zeros = nn.initializers.zeros_init()
        block = partial(
            BLOCKS[self.block],
            conv=conv,
            norm=norm,
            last_norm=partial(norm, scale_init=zeros) if self.zero_init_residual else norm,
            shortcut=self.shortcut if self.residual else None,
        )
        if self.block == "bottleneck":
            block = partial(block, groups=self.groups, width_per_group=self.width_per_group)
        self.body = ResNetBody(self.stem, self.stage_sizes, self.widths, block, conv, norm)
        self.head = Linear(self.num_classes)

    def features(self, x: Images, *, train: bool = False) -> dict[str, Feature]:
        """The feature maps, in forward order."""
        return self.body(x, train=train)

    def __call__(self, x: Images, *, train: bool = False) -> Float[Array, "batch classes"]:
        *_, last = self.body(x, train=train).values()
        last = last.astype(jnp.promote_types(last.dtype, jnp.float32))
        return self.head(global_avg_pool(last))

    @nn.nowrap
    def torch_names(self) -> dict[str, str]:
        """Path in our variables of every parameter and statistic, by its name in torchvision."""
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
        return names | torch_names.linear("fc", "head")


def cifar_resnet(depth: int, residual: bool = True, **attributes: Any) -> ResNet:
    """The CIFAR network of a depth of 6n + 2 layers (He et al. 2015, section 4.2).

    Args:
        depth: 20, 32, 44, 56, 110, 1202 in the paper.
        residual: False gives the plain network.
        attributes: of `ResNet`; by default 10 classes and option A shortcuts.

    Raises:
        ConfigError: a depth that is not 6n + 2.
    """
    return _cifar(depth, residual)(**attributes)


def _cifar(depth: int, residual: bool) -> Callable[..., ResNet]:
    n, rest = divmod(depth - 2, 6)
    if n < 1 or rest:
        raise ConfigError(
            f"depth {depth} is not 6n + 2; the nearest is {max(1, round((depth - 2) / 6)) * 6 + 2}"
        )
    return partial(
        ResNet,
        "cifar",
        "basic",
        (n, n, n),
        (16, 32, 64),
        residual,
        1,
        64,
        num_classes=10,
        shortcut="A",
    )


for _depth in (20, 32, 44, 56, 110, 1202):
    register(f"cifar_resnet{_depth}", _cifar(_depth, residual=True))
for _depth in (20, 32, 44, 56, 110):
    register(f"cifar_plain{_depth}", _cifar(_depth, residual=False))


def _imagenet(
    block: Block, stage_sizes: tuple[int, ...], groups: int = 1, width_per_group: int = 64
) -> Callable[..., ResNet]:
    widths = (64, 128, 256, 512)
    return partial(ResNet, "imagenet", block, stage_sizes, widths, True, groups, width_per_group)


register("resnet18", _imagenet("basic", (2, 2, 2, 2)))
register("resnet34", _imagenet("basic", (3, 4, 6, 3)))
register("resnet50", _imagenet("bottleneck", (3, 4, 6, 3)))
register("resnet101", _imagenet("bottleneck", (3, 4, 23, 3)))
register("resnet152", _imagenet("bottleneck", (3, 8, 36, 3)))
register("resnext50_32x4d", _imagenet("bottleneck", (3, 4, 6, 3), 32, 4))
register("resnext101_32x8d", _imagenet("bottleneck", (3, 4, 23, 3), 32, 8))
register("wide_resnet50_2", _imagenet("bottleneck", (3, 4, 6, 3), width_per_group=128))
register("wide_resnet101_2", _imagenet("bottleneck", (3, 4, 23, 3), width_per_group=128))
