"""A feature pyramid: maps of all strides that know what the coarser ones know.

Source: Lin, Dollár, Girshick, He, Hariharan, Belongie: "Feature Pyramid Networks for Object
Detection", 2017. The pyramid is torchvision's, with its initialization and its weights.
"""

from functools import partial
from typing import Any, Literal

from flax import linen as nn
from flax.typing import Dtype
from jaxtyping import Array

from cnn_jax.errors import ConfigError
from cnn_jax.layers import BatchNorm, Conv, relu, resize_nearest, subsample
from cnn_jax.models import torch_names
from cnn_jax.models.arrays import Feature, Images
from cnn_jax.models.encoder import Encoder, encoder_title, make_encoder, maps_by_stride

Coarser = Literal["subsampled", "p5", "c5"]
"""How the levels beyond the encoder's are made, see `FeaturePyramid`."""

# `torch.nn.init.kaiming_uniform_` with a=1: uniform with variance 1 / fan_in.
pyramid_conv = partial(
    Conv,
    kernel_init=nn.initializers.lecun_uniform(),
    bias_init=nn.initializers.zeros_init(),
)


class FeaturePyramid(nn.Module):
    """Maps, fine to coarse, to maps of the same sizes and of coarser ones.

    A 1x1 convolution gives all maps the same channels, each is added to the enlarged coarser one,
    and a 3x3 convolution smooths the sum (figure 3).

    Attributes:
        channels: of all levels.
        coarser: what is added. "subsampled" is one level, every second pixel of the coarsest, for
            an R-CNN; "p5" and "c5" are two levels by strided convolutions, for RetinaNet, of the
            coarsest level or of the encoder's coarsest map.
        dtype: dtype of the convolutions; None is that of input and parameters.
        normalized: whether BatchNorm follows the first and the last convolutions.
    """

    channels: int
    coarser: Coarser
    dtype: Dtype | None = None
    normalized: bool = False

    @nn.compact
    def __call__(self, maps: list[Array], *, train: bool) -> list[Array]:
        conv = partial(pyramid_conv, self.channels, dtype=self.dtype)

        def block(x: Array, size: int, name: str) -> Array:
            x = conv(size, padding=size // 2, use_bias=not self.normalized, name=name)(x)
            if not self.normalized:
                return x
            return BatchNorm(dtype=self.dtype, name=f"{name}_norm")(x, train=train)

        levels: list[Array] = []
        above: Any = None
        for number, x in reversed(list(enumerate(maps))):
            x = block(x, 1, f"lateral{number}")
            above = x if above is None else x + resize_nearest(above, (x.shape[1], x.shape[2]))
            levels.insert(0, block(above, 3, f"smooth{number}"))
        if self.coarser == "subsampled":
            return [*levels, subsample(levels[-1], 2)]
        coarse = levels[-1] if self.coarser == "p5" else maps[-1]
        p6 = conv(3, stride=2, padding=1, name="p6")(coarse)
        p7 = conv(3, stride=2, padding=1, name="p7")(relu(p6))
        return [*levels, p6, p7]

    @staticmethod
    def torch_names(
        number: int, coarser: Coarser, normalized: bool, torch: str, path: str
    ) -> dict[str, str]:
        """The entries of torchvision's `FeaturePyramidNetwork` on a number of maps."""
        names: dict[str, str] = {}
        for i in range(number):
            for blocks, layer in (("inner_blocks", "lateral"), ("layer_blocks", "smooth")):
                block, ours = f"{torch}.{blocks}.{i}", f"{path}/{layer}{i}"
                names |= torch_names.conv(f"{block}.0", ours, bias=not normalized)
                names |= torch_names.norm(f"{block}.1", f"{ours}_norm") if normalized else {}
        for layer in () if coarser == "subsampled" else ("p6", "p7"):
            names |= torch_names.conv(f"{torch}.extra_blocks.{layer}", f"{path}/{layer}", bias=True)
        return names


class PyramidBackbone(nn.Module):
    """Images to the levels of a feature pyramid on a classifier's body.

    Attributes:
        encoder: a classifier's name, or a model with `features`.
        number: maps of the encoder that are taken: the last one of each of the largest strides.
        channels: of all levels.
        coarser: see `FeaturePyramid`.
        norm: "frozen" is handed on to an encoder of that name.
        norm_eps: handed on to an encoder of that name unless it is None.
        dtype: handed on; None is that of input and parameters.
        normalized: see `FeaturePyramid`.
    """

    encoder: Encoder
    number: int
    channels: int
    coarser: Coarser
    norm: str
    norm_eps: float | None
    dtype: Dtype | None
    normalized: bool = False

    @nn.nowrap
    def make_encoder(self) -> Any:
        eps = {} if self.norm_eps is None else {"norm_eps": self.norm_eps}
        return make_encoder(self.encoder, self.norm, self.dtype, **eps)

    def setup(self) -> None:
        self.body = self.make_encoder()
        self.fpn = FeaturePyramid(self.channels, self.coarser, self.dtype, self.normalized)

    def features(self, x: Images, *, train: bool = False) -> dict[str, Feature]:
        """The encoder's feature maps, in forward order."""
        return self.body.features(x, train=train)

    def taken(self) -> dict[str, int]:
        """Names and strides of the encoder's maps, fine to coarse.

        Raises:
            ConfigError: the encoder has maps of fewer strides.
        """
        by_stride = maps_by_stride(self.body.feature_strides())
        if len(by_stride) < self.number:
            raise ConfigError(
                f"a pyramid of {self.number} maps needs an encoder with as many strides; "
                f"{encoder_title(self.encoder)} has {len(by_stride)}"
            )
        return {by_stride[stride][-1]: stride for stride in sorted(by_stride)[-self.number :]}

    def __call__(self, x: Images, *, train: bool) -> list[Array]:
        maps = self.features(x, train=train)
        return self.fpn([maps[name] for name in self.taken()], train=train)

    @nn.nowrap
    def torch_names(self) -> dict[str, str]:
        """The entries of torchvision's `BackboneWithFPN`."""
        names = torch_names.below("body", "body", self.make_encoder().torch_names())
        pyramid = FeaturePyramid.torch_names(
            self.number, self.coarser, self.normalized, "fpn", "fpn"
        )
        return names | pyramid
