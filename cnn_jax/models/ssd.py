"""SSD: boxes and classes from maps of six scales, without a feature pyramid, in one stage.

Source: Liu, Anguelov, Erhan, Szegedy, Reed, Fu, Berg: "SSD: Single Shot MultiBox Detector", 2016;
figure 2 and section 2. The network is torchvision's, with its initialization and its weights.
`tasks.MultiBoxDetection` trains it and makes detections of its outputs.
"""

from functools import partial
from typing import Any, ClassVar

import jax.numpy as jnp
from flax import linen as nn
from flax.typing import Dtype
from jaxtyping import Array, Shaped

from cnn_jax.errors import ConfigError
from cnn_jax.layers import (
    Conv,
    default_boxes,
    l2_normalize,
    max_pool,
    relu,
    resize_bilinear,
    resize_parts,
)
from cnn_jax.models import torch_names
from cnn_jax.models.arrays import Feature, Images, at_least_float32
from cnn_jax.models.checks import as_num_classes, check_choice, check_classes, check_images
from cnn_jax.models.conv_norm import Norm
from cnn_jax.models.encoder import Encoder, encoder_title, make_encoder, maps_by_stride
from cnn_jax.models.registry import register
from cnn_jax.models.retinanet import DetectorOutputs
from cnn_jax.models.vgg import VGG

SIDE = 300
"""Height and width of the images that the network sees."""
STRIDES = (8, 16)
"""Of the encoder's maps."""
COARSER = ((2, 2, 1), (4, 2, 1), (4, 1, 0), (4, 1, 0))
"""Of each coarser map: by what the channels are divided, and stride and padding."""
RATIOS = ((2,), (2, 3), (2, 3), (2, 3), (2,), (2,))
"""Width / height of the default boxes of each map, beside two squares (section 3)."""
SCALES = (0.07, 0.15, 0.33, 0.51, 0.69, 0.87, 1.05)
"""Of the default boxes of each map, as parts of the image; the last one is beyond the maps."""
STEPS = (8, 16, 32, 64, 100, 300)
"""Pixels between the default boxes of each map."""
SCALE = 20.0
"""Norm of the finest map with which the training begins (section 3.1)."""

zeros = nn.initializers.zeros_init()
conv = partial(Conv, kernel_init=nn.initializers.xavier_uniform(), bias_init=zeros)


class CoarserMaps(nn.Module):
    """The encoder's two maps to those of six scales, fine to coarse (figure 2)."""

    channels: int
    dtype: Dtype | None

    @nn.compact
    def __call__(self, fine: Array, coarse: Array) -> list[Array]:
        scale = self.param("scale", nn.initializers.constant(SCALE), (fine.shape[-1],))
        maps = [l2_normalize(at_least_float32(fine)) * scale.reshape(1, 1, 1, -1)]
        make = partial(conv, dtype=self.dtype)
        x = max_pool(coarse, 3, 1, padding=1)
        x = relu(make(self.channels, 3, padding=6, dilation=6, name="fc6")(x))
        x = relu(make(self.channels, 1, name="fc7")(x))
        maps.append(x)
        for number, (part, stride, padding) in enumerate(COARSER, start=8):
            width = self.channels // part
            x = relu(make(width // 2, 1, name=f"conv{number}_1")(x))
            x = relu(make(width, 3, stride=stride, padding=padding, name=f"conv{number}_2")(x))
            maps.append(x)
        return maps

    @staticmethod
    def torch_names(fc: str, torch: str, path: str) -> dict[str, str]:
        """The entries of torchvision's `SSDFeatureExtractorVGG` beside those of the VGG."""
        names = {f"{torch}.scale_weight": f"params/{path}/scale"}
        for position, layer in ((1, "fc6"), (3, "fc7")):
            names |= torch_names.conv(f"{fc}.{position}", f"{path}/{layer}", bias=True)
        for number in range(1, len(COARSER) + 1):
            for position, n in ((0, 1), (2, 2)):
                layer = f"{path}/conv{number + 7}_{n}"
                names |= torch_names.conv(f"{torch}.extra.{number}.{position}", layer, bias=True)
        return names


class SSD(nn.Module):
    """Images to `DetectorOutputs`, float32 or wider; the anchors are the default boxes.

    Images may have any size. As in torchvision, the network resizes each of them to 300x300 pixels,
    bilinear, whatever its shape. Anchors are in pixels of the resized image. `features` returns the
    encoder's maps. Parameters are `backbone/body`, `coarser`, `classification_0`, … and
    `regression_0`, …, one for each map.

    Attributes:
        encoder: a classifier's name, or a model with `features`, which is taken as it is. Its last
            maps of the strides 8 and 16 are used. A VGG pools the last pixel of an odd map too, as
            the authors' does.
        num_classes: number of outputs of each anchor, the first one of the background.
        channels: of the map that follows the encoder's; the coarser ones have a half and a quarter
            of them. Small data needs fewer than torchvision's 1024.
        norm: "frozen" is handed on to an encoder of that name.
        dtype: dtype of the convolutions, such as bfloat16; parameters, statistics and the last
            layers stay float32. None is that of input and parameters.

    Raises:
        ConfigError: attributes that make no sense; an encoder without maps of these strides; images
            that are not [batch, height, width, channels].
    """

    encoder: Encoder = "vgg16"
    num_classes: int = 91
    channels: int = 1024
    norm: Norm = "batch"
    dtype: Dtype | None = None

    image_size: ClassVar[tuple[int, int]] = (SIDE, SIDE)
    """(height, width) of the images that the network sees."""

    def __post_init__(self) -> None:
        self.num_classes = as_num_classes(self.num_classes)
        check_classes(self.num_classes)
        if self.channels < 8:
            raise ConfigError(f"channels must be at least 8, got {self.channels}")
        check_choice("norm", self.norm, ("batch", "frozen"))
        super().__post_init__()

    @nn.nowrap
    def make_backbone(self) -> Any:
        encoder = make_encoder(self.encoder, self.norm, self.dtype)
        return encoder.clone(ceil_mode=True) if isinstance(encoder, VGG) else encoder

    def setup(self) -> None:
        self.backbone = self.make_backbone()
        self.coarser = CoarserMaps(self.channels, self.dtype)
        numbers = [2 + 2 * len(ratios) for ratios in RATIOS]
        self.classification = [conv(n * self.num_classes, 3, padding=1) for n in numbers]
        self.regression = [conv(n * 4, 3, padding=1) for n in numbers]

    def features(self, x: Images, *, train: bool = False) -> dict[str, Feature]:
        """The encoder's feature maps of images that are not resized, in forward order."""
        return self.backbone.features(x, train=train)

    def __call__(
        self, x: Images, sizes: Shaped[Array, "batch 2"] | None = None, *, train: bool = False
    ) -> DetectorOutputs:
        """The outputs.

        Args:
            x: images, at the upper left of a canvas.
            sizes: (height, width) of each image on the canvas; None is the whole canvas.
            train: whether the encoder trains.
        """
        check_images(x, 1)
        x = jnp.asarray(x)
        if sizes is not None:
            x = resize_parts(x, sizes, SIDE)
        elif x.shape[1:3] != self.image_size:
            x = resize_bilinear(x, SIDE)
        maps = self.features(x, train=train)
        levels = self.coarser(*(maps[name] for name in self.taken()))
        levels = [at_least_float32(level) for level in levels]
        logits, deltas = [], []
        for level, classify, regress in zip(
            levels, self.classification, self.regression, strict=True
        ):
            logits.append(classify(level).reshape(len(x), -1, self.num_classes))
            deltas.append(regress(level).reshape(len(x), -1, 4))
        anchors = [
            default_boxes(self.image_size, level.shape[1:3], scale, next_scale, ratios, step)
            for level, scale, next_scale, ratios, step in zip(
                levels, SCALES[:-1], SCALES[1:], RATIOS, STEPS, strict=True
            )
        ]
        return {
            "logits": tuple(logits),
            "deltas": tuple(deltas),
            "anchors": tuple(jnp.asarray(a, logits[0].dtype) for a in anchors),
        }

    def taken(self) -> list[str]:
        """Names of the encoder's maps of strides 8 and 16.

        Raises:
            ConfigError: the encoder has none.
        """
        by_stride = maps_by_stride(self.backbone.feature_strides())
        if missing := [stride for stride in STRIDES if stride not in by_stride]:
            raise ConfigError(
                f"an SSD needs an encoder with maps of the strides 8 and 16; "
                f"{encoder_title(self.encoder)} has none of {missing[0]}, its strides are "
                f"{', '.join(map(str, by_stride))}"
            )
        return [by_stride[stride][-1] for stride in STRIDES]

    @nn.nowrap
    def feature_strides(self) -> dict[str, int]:
        """Stride of each map of `features`, in pixels of the image."""
        strides: dict[str, int] = self.make_backbone().feature_strides()
        return strides

    @nn.nowrap
    def torch_names(self) -> dict[str, str]:
        """Paths of all parameters and statistics in our variables, by torchvision's names.

        torchvision has names for a VGG alone; those of another encoder are its own, below
        "backbone.body".
        """
        backbone = self.make_backbone()
        fc, encoder = "backbone.fc", backbone.torch_names()
        encoder = {name: path for name, path in encoder.items() if "/body/" in path}
        if isinstance(backbone, VGG):
            encoder, fc = _split_vgg(encoder)
        else:
            encoder = {f"body.{name}": path for name, path in encoder.items()}
        names = torch_names.below("backbone", "backbone", encoder)
        names |= CoarserMaps.torch_names(fc, "backbone", "coarser")
        for head in ("classification", "regression"):
            for number in range(len(RATIOS)):
                torch = f"head.{head}_head.module_list.{number}"
                names |= torch_names.conv(torch, f"{head}_{number}", bias=True)
        return names


def _split_vgg(names: dict[str, str]) -> tuple[dict[str, str], str]:
    """Torchvision's names of a VGG's layers, and of the convolutions instead of linear layers.

    From the fourth pooling on, the layers are counted anew, as parts of "extra.0".
    """
    positions = {name: int(name.split(".")[1]) for name in names}
    pooling = min(positions[name] for name, path in names.items() if "/conv5_1/" in path) - 1
    split = {}
    for name, path in names.items():
        kind, position = name.rpartition(".")[2], positions[name]
        layer = f"features.{position}" if position < pooling else f"extra.0.{position - pooling}"
        split[f"{layer}.{kind}"] = path
    # After the last convolution or BatchNorm comes its ReLU.
    return split, f"backbone.extra.0.{max(positions.values()) - pooling + 2}"


register("ssd300_vgg16", SSD, (SIDE, SIDE, 3), encoder="vgg16")
