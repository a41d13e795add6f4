"""FCN: a classifier made fully convolutional, whose coarse scores are united with finer ones.

Source: Long, Shelhamer, Darrell: "Fully Convolutional Networks for Semantic Segmentation", 2015;
crop offsets and scoring layers are those of the authors' networks, voc-fcn32s, -16s and -8s. The
scores of a classifier's last map are made finer by transposed convolutions that begin as bilinear
interpolation; FCN-16s adds the scores of the map of half its stride, FCN-8s those of a quarter too
(figure 3). For the fully convolutional ResNets of torchvision, see `deeplab.py`.
"""

from collections.abc import Mapping
from functools import partial
from typing import Any, Literal

import jax
import jax.numpy as jnp
from flax import linen as nn
from flax.typing import Dtype, PRNGKey, Shape
from jaxtyping import Array

from cnn_jax.errors import ConfigError
from cnn_jax.layers import Conv, ConvTranspose, Dropout, conv_transpose2d, relu
from cnn_jax.models.arrays import Feature, Images, PixelLogits, at_least_float32
from cnn_jax.models.checks import as_num_classes, check_choice, check_images
from cnn_jax.models.conv_norm import Norm
from cnn_jax.models.encoder import (
    Encoder,
    crop_to_image,
    encoder_title,
    make_encoder,
    maps_by_stride,
    pad_to_multiple,
    resize_to,
)
from cnn_jax.models.registry import IMAGENET, register

zeros = nn.initializers.zeros_init()

# Pixels cut off at the top and left: of the scores that are added, one after another, and of the
# image at the end.
CROPS = {0: (19,), 1: (5, 27), 2: (5, 9, 31)}
# The first convolution pads by 100 pixels, of which VGG's own padding is one.
ORIGINAL_PADDING = 99


def bilinear_init(key: PRNGKey, shape: Shape, dtype: Dtype = jnp.float32) -> Array:
    """Kernel of a transposed convolution that interpolates each channel (Caffe's BilinearFiller).

    Args:
        key: not used.
        shape: (2 factor, 2 factor, features, channels), for a stride of `factor`; one feature is
            for one group a channel.
        dtype: dtype of the kernel.
    """
    size, _, features, channels = shape
    factor = size / 2
    line = 1 - jnp.abs(jnp.arange(size, dtype=dtype) - (factor - 0.5)) / factor
    same = jnp.ones((1, channels)) if features == 1 else jnp.eye(features, channels)
    return line[:, None, None, None] * line[None, :, None, None] * same[None, None].astype(dtype)


def upsample(x: Array, factor: int, padding: int) -> Array:
    """Bilinear interpolation by a transposed convolution, in which pixels beyond x are zero."""
    size, channels = 2 * factor, x.shape[-1]
    kernel = bilinear_init(jax.random.key(0), (size, size, 1, channels), x.dtype)
    return conv_transpose2d(x, kernel, stride=factor, padding=padding, groups=channels)


class FCNHead(nn.Module):
    """The classifier's linear layers as convolutions: 7x7 and 1x1, and the scores."""

    hidden: tuple[int, ...]
    num_classes: int
    dropout: float
    padding: int
    dtype: Dtype | None

    @nn.compact
    def __call__(self, x: Array, *, train: bool) -> Array:
        normal = nn.initializers.normal(0.01)
        conv = partial(Conv, dtype=self.dtype, kernel_init=normal, bias_init=zeros)
        for number, width in enumerate(self.hidden, start=6):
            size, padding = (7, self.padding) if number == 6 else (1, 0)
            x = relu(conv(width, size, padding=padding, name=f"fc{number}")(x))
            x = Dropout(self.dropout)(x, train=train)
        return make_score(self.num_classes, name="score")(at_least_float32(x))


make_score = partial(Conv, kernel_size=1, kernel_init=zeros, bias_init=zeros)
"""Scoring layers begin with zeros (section 4.3)."""


class FCN(nn.Module):
    """Images to logits [batch, height, width, num_classes] of every pixel, float32 or wider.

    Images may have any size. `features` returns the encoder's maps. Parameters are `backbone/body`,
    `head`, and those of the finer maps, `scores_0`, `ups_0`, ….

    Attributes:
        skips: number of finer maps that are added: 0 is FCN-32s, 1 is FCN-16s, 2 is FCN-8s.
        encoder: a classifier's name, or a model with `features`. The last pooled map of each stride
            is scored.
        hidden: numbers of channels of the convolutions before the scores; () scores the last map
            itself, as is usual for a ResNet.
        num_classes: number of outputs, the background among them.
        alignment: "same" pads the image to a multiple of the stride and the 7x7 convolution by 3.
            "original" pads the image by 100 pixels, none of the later layers, and crops what is too
            much; only for a VGG, it is slower, and its weights are exchangeable with the authors'.
        learned_upsampling: train the transposed convolutions between the maps, from all channels to
            all (section 4.2). The last one is always fixed. The authors' published networks have
            fixed ones throughout.
        dropout: dropout rate after each of the hidden layers (rng "dropout").
        norm: "frozen" is handed on to an encoder of that name; "batch" leaves it as it is.
        dtype: dtype of the body's and the hidden layers' computation, such as bfloat16; parameters
            and scores stay float32. None is that of input and parameters.

    Raises:
        ConfigError: attributes that make no sense; images that are not [batch, height, width,
            channels].
    """

    skips: Literal[0, 1, 2]
    encoder: Encoder = "vgg16"
    hidden: tuple[int, ...] = (4096, 4096)
    num_classes: int = 21
    alignment: Literal["same", "original"] = "same"
    learned_upsampling: bool = False
    dropout: float = 0.5
    norm: Norm = "batch"
    dtype: Dtype | None = None

    def __post_init__(self) -> None:
        self.num_classes = as_num_classes(self.num_classes)
        if not self.num_classes:
            raise ConfigError("FCN adds the scores of its maps and needs classes: set num_classes")
        check_choice("alignment", self.alignment, ("same", "original"))
        check_choice("norm", self.norm, ("batch", "frozen"))
        if self.skips not in CROPS:
            raise ConfigError(f"skips must be 0, 1 or 2, got {self.skips}")
        super().__post_init__()

    @nn.nowrap
    def make_backbone(self) -> Any:
        ceil = {"ceil_mode": True} if self.alignment == "original" else {}
        return make_encoder(self.encoder, self.norm, self.dtype, **ceil)

    def setup(self) -> None:
        same = self.alignment == "same"
        self.backbone = self.make_backbone()
        self.head = FCNHead(
            self.hidden, self.num_classes, self.dropout, 3 if same else 0, self.dtype
        )
        self.scores = [make_score(self.num_classes) for _ in range(self.skips)]
        up: Any = partial(upsample, factor=2, padding=1 if same else 0)
        self.ups = [up] * self.skips
        if self.learned_upsampling:
            options: dict[str, Any] = {"use_bias": False, "kernel_init": bilinear_init}
            self.ups = [
                ConvTranspose(self.num_classes, 4, 2, padding=1 if same else 0, **options)
                for _ in range(self.skips)
            ]

    def features(self, x: Images, *, train: bool = False) -> dict[str, Feature]:
        """The encoder's feature maps, in forward order."""
        check_images(x, 1)
        x = jnp.asarray(x)
        if self.alignment == "same":
            x = pad_to_multiple(x, max(self.backbone.feature_strides().values()))
        else:
            pad = (ORIGINAL_PADDING, ORIGINAL_PADDING)
            x = jnp.pad(x, ((0, 0), pad, pad, (0, 0)))
        return self.backbone.features(x, train=train)

    def __call__(self, x: Images, *, train: bool = False) -> PixelLogits:
        maps, (height, width) = self.features(x, train=train), x.shape[1:3]
        names, stride = self._scored(), max(self.backbone.feature_strides().values())
        y = self.head(maps[names[0]], train=train)
        for name, score, up, crop in zip(
            names[1:], self.scores, self.ups, CROPS[self.skips][:-1], strict=True
        ):
            y, finer = up(y), score(at_least_float32(maps[name]))
            if self.alignment == "same":
                y = resize_to(y, finer.shape[1:3])
            else:
                finer = finer[:, crop : crop + y.shape[1], crop : crop + y.shape[2]]
            y = y + finer
        factor = stride // 2**self.skips
        if factor > 1:
            y = upsample(y, factor, factor // 2 if self.alignment == "same" else 0)
        if self.alignment == "same":
            return crop_to_image(y, (height, width), stride)
        crop = CROPS[self.skips][-1]
        return y[:, crop : crop + height, crop : crop + width]

    def _scored(self) -> list[str]:
        """The names of the maps that are scored, the coarsest first."""
        names = maps_by_stride(self.backbone.feature_strides())
        strides = [max(names) // 2**i for i in range(self.skips + 1)]
        if missing := [stride for stride in strides if stride not in names]:
            raise ConfigError(
                f"skips={self.skips} needs maps of the strides {strides}, and "
                f"{encoder_title(self.encoder)} has none of {missing}; take fewer skips"
            )
        # Of VGG the pooled map, which comes before the convolutions of the next stage.
        pooled = {s: [name for name in names[s] if name.startswith("stage")] for s in strides}
        return [(pooled[s] or names[s])[-1] for s in strides]

    @nn.nowrap
    def feature_strides(self) -> dict[str, int]:
        """Stride of each map of `features`, in pixels of the image."""
        return self.make_backbone().feature_strides()


def from_vgg(variables: Mapping[str, Any]) -> dict[str, Any]:
    """Parameters of FCN from those of a VGG with 7x7 pooling: its body, `fc6` and `fc7`.

    The linear layers become convolutions (section 3.1). The scoring layers are not among them.

    Args:
        variables: of `create_model("vgg16")`, such as those of `pretrained.load`.
    """
    params = variables["params"]
    fc6, fc7 = params["head"]["fc6"], params["head"]["fc7"]
    channels = fc6["kernel"].shape[0] // 49
    # The flattened map of VGG is in PyTorch's order: channels, rows, columns.
    kernel = fc6["kernel"].reshape(channels, 7, 7, -1).transpose(1, 2, 0, 3)
    head = {
        "fc6": {"kernel": kernel, "bias": fc6["bias"]},
        "fc7": {"kernel": fc7["kernel"][None, None], "bias": fc7["bias"]},
    }
    return {"backbone": {"body": params["body"]}, "head": head}


for _skips, _stride in ((0, 32), (1, 16), (2, 8)):
    register(f"fcn{_stride}s", FCN, IMAGENET, skips=_skips)
