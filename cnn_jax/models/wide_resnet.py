"""Wide residual networks for CIFAR: fewer layers, more channels, pre-activation.

Source: Zagoruyko and Komodakis: "Wide Residual Networks", 2016, and the authors' code
(github.com/szagoruyko/wide-residual-networks). WRN-d-k has d layers and k times the width of the
CIFAR ResNet. The blocks are those of He et al.: "Identity Mappings in Deep Residual Networks",
2016: BatchNorm and ReLU come before each convolution, so the path from block to block consists of
additions only. The wide networks for ImageNet are in `resnet.py`.
"""

from functools import partial

import jax.numpy as jnp
from flax import linen as nn
from flax.typing import Dtype
from jaxtyping import Array

from cnn_jax.errors import ConfigError
from cnn_jax.layers import Conv, Dropout, global_avg_pool, relu
from cnn_jax.layers.initializers import he_kernel_init
from cnn_jax.models.arrays import Feature, Images, Logits, at_least_float32
from cnn_jax.models.checks import as_num_classes, check_choice, check_images
from cnn_jax.models.classifier import make_classifier
from cnn_jax.models.conv_norm import MakeConv, MakeNorm, Norm, make_norm
from cnn_jax.models.registry import CIFAR, register


class WideBlock(nn.Module):
    """Two 3x3 convolutions, with dropout between them (figure 1d of the paper)."""

    width: int
    stride: int
    dropout: float
    conv: MakeConv
    norm: MakeNorm

    @nn.compact
    def __call__(self, x: Array, *, train: bool) -> Array:
        activated = self.norm(name="norm1", activation=relu)(x, train=train)
        y = self.conv(self.width, 3, stride=self.stride, padding=1, name="conv1")(activated)
        y = self.norm(name="norm2", activation=relu)(y, train=train)
        y = Dropout(self.dropout)(y, train=train)
        y = self.conv(self.width, 3, padding=1, name="conv2")(y)
        if x.shape == y.shape:
            return x + y
        return self.conv(self.width, 1, stride=self.stride, name="shortcut_conv")(activated) + y


class WideResNetBody(nn.Module):
    """Everything before the classifier; returns the maps `stem`, `stage1`, `stage2`, `stage3`."""

    blocks: int
    widen: int
    dropout: float
    conv: MakeConv
    norm: MakeNorm

    @nn.compact
    def __call__(self, images: Images, *, train: bool) -> dict[str, Feature]:
        check_images(images, 1)
        x = self.conv(16, 3, padding=1, name="stem_conv")(jnp.asarray(images))
        features = {"stem": x}
        for stage, width in enumerate((16, 32, 64), start=1):
            for number in range(1, self.blocks + 1):
                block = WideBlock(
                    width=width * self.widen,
                    stride=2 if stage > 1 and number == 1 else 1,
                    dropout=self.dropout,
                    conv=self.conv,
                    norm=self.norm,
                    name=f"stage{stage}_block{number}",
                )
                x = block(x, train=train)
            features[f"stage{stage}"] = x
        features["stage3"] = self.norm(name="last_norm", activation=relu)(x, train=train)
        return features


class WideResNet(nn.Module):
    """Images to logits [batch, num_classes], float32 or wider.

    `features` returns the maps `stem`, `stage1`, `stage2` and `stage3`. They are not activated,
    except the last, which is taken after the final BatchNorm and ReLU.

    Attributes:
        depth: number of layers, 6n + 4.
        widen: factor of the widths 16, 32 and 64 of the three stages.
        dropout: dropout rate before the second convolution of each block (rng "dropout"); 0 in
            the paper, and 0.3 in its section 3.3.
        num_classes: number of outputs; 0 or None gives the features before the last layer.
        norm: "frozen" normalizes with the running statistics, also in training.
        dtype: dtype of the body's computation, such as bfloat16; parameters, statistics and
            the classifier stay float32. None is that of input and parameters.

    Raises:
        ConfigError: attributes that make no sense; images that are not [batch, height, width,
            channels].
    """

    depth: int
    widen: int
    dropout: float = 0.0
    num_classes: int | None = 10
    norm: Norm = "batch"
    dtype: Dtype | None = None

    def __post_init__(self) -> None:
        self.num_classes = as_num_classes(self.num_classes)
        check_choice("norm", self.norm, ("batch", "frozen"))
        if self.depth < 10 or self.depth % 6 != 4:
            nearest = max(1, round((self.depth - 4) / 6)) * 6 + 4
            raise ConfigError(f"depth {self.depth} is not 6n + 4; the nearest is {nearest}")
        super().__post_init__()

    def setup(self) -> None:
        conv = partial(Conv, use_bias=False, dtype=self.dtype, kernel_init=he_kernel_init)
        norm = make_norm(self.norm, dtype=self.dtype)
        blocks = (self.depth - 4) // 6
        self.body = WideResNetBody(blocks, self.widen, self.dropout, conv, norm)
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
        return {"stem": 1, "stage1": 1, "stage2": 2, "stage3": 4}


register("cifar_wrn16_4", WideResNet, CIFAR, depth=16, widen=4)
register("cifar_wrn28_10", WideResNet, CIFAR, depth=28, widen=10)
register("cifar_wrn40_2", WideResNet, CIFAR, depth=40, widen=2)
