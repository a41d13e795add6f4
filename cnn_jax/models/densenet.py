"""Densely connected networks: every layer of a block sees the maps of all layers before it.

Source: Huang, Liu, van der Maaten, Weinberger 2017, "Densely Connected Convolutional Networks",
table 1: DenseNet-BC, with 1x1 bottlenecks (B) and transitions that halve the channels (C). The
networks are torchvision's, with its initialization and its weights.
"""

from functools import partial

import jax.numpy as jnp
from flax import linen as nn
from flax.typing import Dtype
from jaxtyping import Array

from cnn_jax.layers import Conv, avg_pool, global_avg_pool, max_pool, relu
from cnn_jax.models import torch_names
from cnn_jax.models.arrays import Feature, Images, Logits, at_least_float32
from cnn_jax.models.checks import as_num_classes, check_choice, check_images
from cnn_jax.models.classifier import classifier_names, make_classifier
from cnn_jax.models.conv_norm import MakeConv, MakeNorm, Norm, make_norm
from cnn_jax.models.registry import IMAGENET, register

BOTTLENECK = 4
"""Channels of a bottleneck, in growth rates (section 3)."""
SMALLEST = 29

he_normal = nn.initializers.variance_scaling(2.0, "fan_in", "normal")


class DenseLayer(nn.Module):
    """New maps from all maps before: BatchNorm, ReLU, 1x1, BatchNorm, ReLU, 3x3."""

    growth_rate: int
    conv: MakeConv
    norm: MakeNorm

    @nn.compact
    def __call__(self, x: Array, *, train: bool) -> Array:
        y = self.norm(name="norm1", activation=relu)(x, train=train)
        y = self.conv(BOTTLENECK * self.growth_rate, 1, name="conv1")(y)
        y = self.norm(name="norm2", activation=relu)(y, train=train)
        return self.conv(self.growth_rate, 3, padding=1, name="conv2")(y)


class DenseNetBody(nn.Module):
    """Everything before the classifier; returns the maps `stem`, `stage1`, …."""

    growth_rate: int
    stage_sizes: tuple[int, ...]
    width: int
    conv: MakeConv
    norm: MakeNorm

    @nn.compact
    def __call__(self, images: Images, *, train: bool) -> dict[str, Feature]:
        check_images(images, SMALLEST)
        x = self.conv(self.width, 7, stride=2, padding=3, name="stem_conv")(jnp.asarray(images))
        x = self.norm(name="stem_norm", activation=relu)(x, train=train)
        features = {"stem": x}
        x = max_pool(x, 3, 2, padding=1)
        for stage, size in enumerate(self.stage_sizes, start=1):
            if stage > 1:
                x = self.norm(name=f"transition{stage - 1}_norm", activation=relu)(x, train=train)
                x = self.conv(x.shape[-1] // 2, 1, name=f"transition{stage - 1}_conv")(x)
                x = avg_pool(x, 2)
            for number in range(1, size + 1):
                layer = DenseLayer(
                    self.growth_rate, self.conv, self.norm, name=f"stage{stage}_layer{number}"
                )
                x = jnp.concatenate([x, layer(x, train=train)], axis=-1)
            features[f"stage{stage}"] = x
        features[f"stage{stage}"] = self.norm(name="last_norm", activation=relu)(x, train=train)
        return features


class DenseNet(nn.Module):
    """DenseNet-BC: images to logits [batch, num_classes], float32 or wider.

    `features` returns the maps `stem` (after ReLU, before pooling) and `stage1`, `stage2`, … after
    each block. The last map is taken after the final BatchNorm and ReLU.

    Attributes:
        growth_rate: number of maps that each layer adds, k in the paper.
        stage_sizes: number of layers of each block.
        width: number of channels of the stem.
        num_classes: number of outputs; 0 or None gives the features before the last layer.
        norm: "frozen" normalizes with the running statistics, also in training.
        dtype: dtype of the body's computation, such as bfloat16; parameters, statistics and
            the classifier stay float32. None is that of input and parameters.

    Raises:
        ConfigError: images that are not [batch, height, width, channels] or that are smaller than
            29x29.
    """

    growth_rate: int
    stage_sizes: tuple[int, ...]
    width: int
    num_classes: int | None = 1000
    norm: Norm = "batch"
    dtype: Dtype | None = None

    def __post_init__(self) -> None:
        self.num_classes = as_num_classes(self.num_classes)
        check_choice("norm", self.norm, ("batch", "frozen"))
        super().__post_init__()

    def setup(self) -> None:
        conv = partial(Conv, use_bias=False, dtype=self.dtype, kernel_init=he_normal)
        norm = make_norm(self.norm, dtype=self.dtype)
        self.body = DenseNetBody(self.growth_rate, self.stage_sizes, self.width, conv, norm)
        self.head = make_classifier(self.num_classes, bias_init=nn.initializers.zeros_init())

    def features(self, x: Images, *, train: bool = False) -> dict[str, Feature]:
        """The feature maps, in forward order."""
        return self.body(x, train=train)

    def __call__(self, x: Images, *, train: bool = False) -> Logits:
        *_, last = self.body(x, train=train).values()
        return self.head(global_avg_pool(at_least_float32(last)))

    @nn.nowrap
    def feature_strides(self) -> dict[str, int]:
        """Stride of each map of `features`, in pixels of the image."""
        stages = range(1, len(self.stage_sizes) + 1)
        return {"stem": 2} | {f"stage{stage}": 2 ** (stage + 1) for stage in stages}

    @nn.nowrap
    def torch_names(self) -> dict[str, str]:
        """Paths of all parameters and statistics in our variables, by torchvision's names."""
        names = torch_names.conv("features.conv0", "body/stem_conv")
        names |= torch_names.norm("features.norm0", "body/stem_norm")
        for stage, size in enumerate(self.stage_sizes, start=1):
            if stage > 1:
                torch, path = f"features.transition{stage - 1}", f"body/transition{stage - 1}"
                names |= torch_names.norm(f"{torch}.norm", f"{path}_norm")
                names |= torch_names.conv(f"{torch}.conv", f"{path}_conv")
            for number in range(1, size + 1):
                torch = f"features.denseblock{stage}.denselayer{number}"
                path = f"body/stage{stage}_layer{number}"
                for i in (1, 2):
                    names |= torch_names.norm(f"{torch}.norm{i}", f"{path}/norm{i}")
                    names |= torch_names.conv(f"{torch}.conv{i}", f"{path}/conv{i}")
        names |= torch_names.norm("features.norm5", "body/last_norm")
        return names | classifier_names(self.num_classes, "classifier", "head")


register("densenet121", DenseNet, IMAGENET, growth_rate=32, stage_sizes=(6, 12, 24, 16), width=64)
register("densenet161", DenseNet, IMAGENET, growth_rate=48, stage_sizes=(6, 12, 36, 24), width=96)
register("densenet169", DenseNet, IMAGENET, growth_rate=32, stage_sizes=(6, 12, 32, 32), width=64)
register("densenet201", DenseNet, IMAGENET, growth_rate=32, stage_sizes=(6, 12, 48, 32), width=64)
