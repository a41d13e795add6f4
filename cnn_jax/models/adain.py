"""One network for any style: the content's maps get the statistics of the style's.

Source: Huang and Belongie: "Arbitrary Style Transfer in Real-time with Adaptive Instance
Normalization", 2017. The encoder is a fixed VGG, the decoder mirrors it, with nearest enlargement
in place of pooling and mirrored borders. Unlike the authors' one, the encoder pads with zeros, as
the VGG that it is.
"""

import jax.numpy as jnp
import numpy as np
from flax import linen as nn
from flax.typing import Dtype
from jaxtyping import Array, Float

from cnn_jax.layers import adaptive_instance_norm, relu
from cnn_jax.models.arrays import Feature, Images, at_least_float32
from cnn_jax.models.transformation import ReflectConv
from cnn_jax.models.vgg import VGG

Alpha = float | Float[Array, ""]
Styles = Float[Array | np.ndarray, "styles style_height style_width channels"]


class Decoder(nn.Module):
    """The mirror of a VGG: maps of its last convolution to an RGB image."""

    stage_sizes: tuple[int, ...]
    widths: tuple[int, ...]
    dtype: Dtype | None

    @nn.compact
    def __call__(self, x: Feature) -> Images:
        upsample = 1
        for stage in range(len(self.stage_sizes), 0, -1):
            for number in range(self.stage_sizes[stage - 1], 0, -1):
                width = self.widths[stage - 1]
                if number == 1:
                    width = self.widths[stage - 2] if stage > 1 else 3
                name = f"conv{stage}_{number}"
                conv = ReflectConv(width, 3, upsample=upsample, dtype=self.dtype, name=name)
                x, upsample = conv(x), 2 if number == 1 else 1
                x = x if name == "conv1_1" else relu(x)
        return x


class AdaIN(nn.Module):
    """Content and style images to the content in the style, all RGB in [0, 1], float32 or wider.

    The output has the content's size and is not clipped. Parameters are `encoder`, which is not
    trained, and `decoder`.

    Attributes:
        vgg: the encoder, a VGG up to the convolution whose maps are normalized, such as
            `create_model("vgg19").until("conv4_1")`; it is called in evaluation.
        mean: of each channel in [0, 1], as the encoder was trained.
        std: of each channel in [0, 1], as the encoder was trained.
        dtype: dtype of the decoder's computation, such as bfloat16.

    Raises:
        ConfigError: images that are not [batch, height, width, channels], or that are smaller than
            a pixel of the encoder's last maps.
    """

    vgg: VGG
    mean: tuple[float, ...]
    std: tuple[float, ...]
    dtype: Dtype | None = None

    def setup(self) -> None:
        # A copy, because a module that is a field is bound to the name of the field.
        self.encoder = self.vgg.clone(parent=None, name=None)
        self.decoder = Decoder(self.vgg.stage_sizes, self.vgg.widths, self.dtype)

    def encode(self, x: Images) -> dict[str, Feature]:
        """The encoder's maps after each of its convolutions."""
        mean, std = (jnp.asarray(one, x.dtype)[None, None, None] for one in (self.mean, self.std))
        maps = self.encoder.features((x - mean) / std)
        return {name: value for name, value in maps.items() if name.startswith("conv")}

    def decode(self, maps: Feature, size: tuple[int, ...]) -> Images:
        """The image of a size (height, width) of maps of the last convolution."""
        image = self.decoder(maps)
        # Pooling has rounded an odd size down.
        below, right = (max(0, size[axis] - image.shape[1 + axis]) for axis in (0, 1))
        image = jnp.pad(image, ((0, 0), (0, below), (0, right), (0, 0)), mode="edge")
        return at_least_float32(image)

    def mixed(self, content: Images, style: Styles, alpha: Alpha = 1.0) -> Feature:
        """The content's last maps with the statistics of the style's.

        Args:
            content: images.
            style: one for each of them, or one for all, of any size.
            alpha: share of the normalized maps; the rest are the content's own.
        """
        *_, maps = self.encode(content).values()
        *_, of_style = self.encode(style).values()
        return alpha * adaptive_instance_norm(maps, of_style) + (1 - alpha) * maps

    def __call__(
        self, content: Images, style: Styles, alpha: Alpha = 1.0, *, train: bool = False
    ) -> Images:
        return self.decode(self.mixed(content, style, alpha), content.shape[1:3])
