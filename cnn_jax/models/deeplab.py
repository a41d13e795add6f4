"""FCN and DeepLabV3 on dilated ResNets: torchvision's networks for semantic segmentation.

Sources: Long, Shelhamer, Darrell: "Fully Convolutional Networks for Semantic Segmentation", 2015;
Chen, Papandreou, Schroff, Adam: "Rethinking Atrous Convolution for Semantic Image Segmentation",
2017. The last two stages of the ResNet have dilated convolutions in place of strides, so that its
last map has one place for 8x8 pixels. A head makes logits of this map, and they are resized to the
image, bilinear. The networks are torchvision's, with its initialization and its weights. FCN as in
the paper, which unites coarse and fine maps, is in `fcn.py`.
"""

from functools import partial
from typing import Any, Literal

import jax.numpy as jnp
from flax import linen as nn
from flax.typing import Dtype
from jaxtyping import Array

from cnn_jax.errors import ConfigError
from cnn_jax.layers import Conv, Dropout, adaptive_avg_pool, resize_bilinear
from cnn_jax.models import torch_names
from cnn_jax.models.arrays import Feature, Images, PixelLogits, at_least_float32
from cnn_jax.models.checks import as_num_classes, check_choice
from cnn_jax.models.classifier import classifier_names, make_classifier
from cnn_jax.models.conv_norm import ConvNormReLU, MakeConv, Norm, make_norm
from cnn_jax.models.encoder import Encoder, make_encoder, resize_to
from cnn_jax.models.registry import IMAGENET, register

RATES = (12, 24, 36)
"""Dilations of the 3x3 convolutions in parallel, for maps of stride 8 (section 3.3)."""


class FCNHead(nn.Module):
    """A 3x3 convolution to a quarter of the channels, and a linear classifier of every place."""

    num_classes: int | None
    dropout: float
    conv_block: MakeConv

    @nn.compact
    def __call__(self, x: Array, *, train: bool) -> Array:
        x = self.conv_block(x.shape[-1] // 4, 3, padding=1, name="conv")(x, train=train)
        x = Dropout(self.dropout)(at_least_float32(x), train=train)
        return make_classifier(self.num_classes, partial(Conv, kernel_size=1, name="score"))(x)

    @staticmethod
    def torch_names(num_classes: int | None, torch: str, path: str) -> dict[str, str]:
        """The entries of torchvision's `FCNHead`."""
        names = _conv_norm_names(torch, path + "/conv")
        return names | classifier_names(num_classes, f"{torch}.4", f"{path}/score")


class DeepLabHead(nn.Module):
    """Atrous spatial pyramid pooling (figure 5): five views of the map, from 1x1 to the whole."""

    num_classes: int | None
    dropout: float
    conv_block: MakeConv

    @nn.compact
    def __call__(self, x: Array, *, train: bool) -> Array:
        conv = self.conv_block
        views = [conv(256, 1, name="view1")(x, train=train)]
        for number, rate in enumerate(RATES, start=2):
            view = conv(256, 3, padding=rate, dilation=rate, name=f"view{number}")
            views.append(view(x, train=train))
        whole = conv(256, 1, name="whole")(adaptive_avg_pool(x, 1), train=train)
        views.append(resize_bilinear(whole, (x.shape[1], x.shape[2])))
        x = conv(256, 1, name="project")(jnp.concatenate(views, axis=-1), train=train)
        x = Dropout(self.dropout)(x, train=train)
        x = at_least_float32(conv(256, 3, padding=1, name="conv")(x, train=train))
        return make_classifier(self.num_classes, partial(Conv, kernel_size=1, name="score"))(x)

    @staticmethod
    def torch_names(num_classes: int | None, torch: str, path: str) -> dict[str, str]:
        """The entries of torchvision's `DeepLabHead`."""
        names: dict[str, str] = {}
        for position in range(len(RATES) + 1):
            names |= _conv_norm_names(f"{torch}.0.convs.{position}", f"{path}/view{position + 1}")
        last, whole = f"{torch}.0.convs.{len(RATES) + 1}", f"{path}/whole"
        names |= torch_names.conv(f"{last}.1", f"{whole}/conv")
        names |= torch_names.norm(f"{last}.2", f"{whole}/norm")
        names |= _conv_norm_names(f"{torch}.0.project", f"{path}/project")
        names |= torch_names.conv(f"{torch}.1", f"{path}/conv/conv")
        names |= torch_names.norm(f"{torch}.2", f"{path}/conv/norm")
        return names | classifier_names(num_classes, f"{torch}.4", f"{path}/score")


def _conv_norm_names(torch: str, path: str) -> dict[str, str]:
    """The entries of a `Sequential` that begins with a convolution and BatchNorm."""
    return torch_names.conv(f"{torch}.0", f"{path}/conv") | torch_names.norm(
        f"{torch}.1", f"{path}/norm"
    )


HEADS: dict[str, type[FCNHead | DeepLabHead]] = {"fcn": FCNHead, "aspp": DeepLabHead}


class DeepLab(nn.Module):
    """Images to logits [batch, height, width, num_classes] of every pixel, float32 or wider.

    Images may have any size. `features` returns the encoder's maps. Parameters are `backbone/body`,
    `head` and `aux`.

    Attributes:
        encoder: a classifier's name, or a model with `features`, which is taken as it is. The head
            reads its last map.
        decoder: "fcn" is torchvision's `FCNHead`, "aspp" the pyramid of DeepLabV3.
        num_classes: number of outputs, the background among them; 0 or None gives the features
            before the last layer, at the size of the image.
        aux_logits: add an FCN head at the map before the last one. In training the output is then
            `(logits, aux)`, whose losses `tasks.Segmentation` adds up. In evaluation it is not
            computed, where torchvision's networks return it.
        dilated_stages: that of a ResNet given by its name; other classifiers need 0.
        dropout: dropout rate in the head (rng "dropout").
        dropout_aux: dropout rate in the auxiliary head.
        norm: "frozen" normalizes with the running statistics, also in training.
        dtype: dtype of the convolutions, such as bfloat16; parameters, statistics and the last
            layers stay float32. None is that of input and parameters.

    Raises:
        ConfigError: attributes that make no sense; images that are not [batch, height, width,
            channels].
    """

    encoder: Encoder
    decoder: Literal["fcn", "aspp"]
    num_classes: int | None = 21
    aux_logits: bool = False
    dilated_stages: int = 2
    dropout: float = 0.1
    dropout_aux: float = 0.1
    norm: Norm = "batch"
    dtype: Dtype | None = None

    def __post_init__(self) -> None:
        self.num_classes = as_num_classes(self.num_classes)
        check_choice("decoder", self.decoder, tuple(HEADS))
        check_choice("norm", self.norm, ("batch", "frozen"))
        if self.aux_logits and not self.num_classes:
            raise ConfigError(
                f"aux_logits={self.aux_logits} needs classes: set num_classes, or aux_logits=False"
            )
        super().__post_init__()

    @nn.nowrap
    def make_backbone(self) -> Any:
        dilated = {"dilated_stages": self.dilated_stages} if self.dilated_stages else {}
        return make_encoder(self.encoder, self.norm, self.dtype, **dilated)

    def setup(self) -> None:
        conv_block = partial(
            ConvNormReLU,
            conv=partial(Conv, use_bias=False, dtype=self.dtype),
            norm=make_norm(self.norm, dtype=self.dtype),
        )
        self.backbone = self.make_backbone()
        self.head = HEADS[self.decoder](self.num_classes, self.dropout, conv_block)
        if self.aux_logits:
            self.aux = FCNHead(self.num_classes, self.dropout_aux, conv_block)

    def features(self, x: Images, *, train: bool = False) -> dict[str, Feature]:
        """The encoder's feature maps, in forward order."""
        return self.backbone.features(x, train=train)

    def __call__(
        self, x: Images, *, train: bool = False
    ) -> PixelLogits | tuple[PixelLogits, PixelLogits]:
        maps, size = list(self.features(x, train=train).values()), x.shape[1:3]
        logits = resize_to(self.head(maps[-1], train=train), size)
        # Parameters also exist after an initialization for evaluation.
        if self.aux_logits and (train or self.is_initializing()):
            aux = resize_to(self.aux(maps[-2], train=train), size)
            if train:
                return logits, aux
        return logits

    @nn.nowrap
    def feature_strides(self) -> dict[str, int]:
        """Stride of each map of `features`, in pixels of the image."""
        return self.make_backbone().feature_strides()

    @nn.nowrap
    def torch_names(self) -> dict[str, str]:
        """Paths of all parameters and statistics in our variables, by torchvision's names."""
        names = torch_names.below("backbone", "backbone", self.make_backbone().torch_names())
        names |= HEADS[self.decoder].torch_names(self.num_classes, "classifier", "head")
        if self.aux_logits:
            names |= FCNHead.torch_names(self.num_classes, "aux_classifier", "aux")
        return names


for _depth in (50, 101):
    _encoder = f"resnet{_depth}"
    register(f"fcn_{_encoder}", DeepLab, IMAGENET, encoder=_encoder, decoder="fcn")
    register(
        f"deeplabv3_{_encoder}",
        DeepLab,
        IMAGENET,
        defaults={"dropout": 0.5},
        encoder=_encoder,
        decoder="aspp",
    )
