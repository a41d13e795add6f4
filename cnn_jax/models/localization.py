"""Classification with localization: a classifier that also says where its object is.

Source: Sermanet et al.: "OverFeat: Integrated Recognition, Localization and Detection using
Convolutional Networks", 2014, section 4: a regression of one box on the maps of a classifier.
"""

from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn
from flax.typing import Dtype
from jaxtyping import Array, Float

from cnn_jax.layers import Linear, adaptive_avg_pool, flatten, global_avg_pool, relu
from cnn_jax.layers.initializers import he_kernel_init
from cnn_jax.models.arrays import Feature, Images, at_least_float32
from cnn_jax.models.checks import as_num_classes, check_choice
from cnn_jax.models.classifier import make_classifier
from cnn_jax.models.conv_norm import Norm
from cnn_jax.models.encoder import Encoder, make_encoder
from cnn_jax.models.registry import IMAGENET, register

zeros = nn.initializers.zeros_init()


class BoxHead(nn.Module):
    """The box of an image, as shares of width and height, from a map pooled to a few places.

    Four outputs between 0 and 1 are its centre and its sides, so that a fresh network gives the
    central box of half of each side.
    """

    places: int
    hidden: int

    @nn.compact
    def __call__(self, x: Array) -> Float[Array, "batch 4"]:
        x = flatten(adaptive_avg_pool(x, self.places))
        if self.hidden:
            x = relu(Linear(self.hidden, kernel_init=he_kernel_init, bias_init=zeros)(x))
        x = jax.nn.sigmoid(Linear(4, kernel_init=zeros, bias_init=zeros)(x))
        centre, sides = x[:, :2], x[:, 2:]
        return jnp.concatenate([centre - sides / 2, centre + sides / 2], axis=1)


class Localizer(nn.Module):
    """Images to `{"logits": [batch, num_classes], "box": [batch, 4]}`, float32 or wider.

    A box is (x0, y0, x1, y1) in pixels of the images, cut at their border. Logits are from the mean
    of the last map, as in a ResNet; the box is from its places. Parameters are `backbone/body`,
    `head` and `box`.

    Attributes:
        encoder: a classifier's name, or a model with `features`.
        num_classes: number of logits; 0 or None gives the mean of the last map in their place.
        places: rows and columns of the map that the box is computed from.
        hidden: outputs of the linear layer before the box; 0 has none.
        norm: "frozen" is handed on to an encoder of that name; "batch" leaves it as it is.
        dtype: dtype of the body's computation, such as bfloat16; parameters and heads stay
            float32. None is that of input and parameters.

    Raises:
        ConfigError: attributes that make no sense; images that are not [batch, height, width,
            channels].
    """

    encoder: Encoder = "resnet18"
    num_classes: int | None = 1000
    places: int = 4
    hidden: int = 256
    norm: Norm = "batch"
    dtype: Dtype | None = None

    def __post_init__(self) -> None:
        self.num_classes = as_num_classes(self.num_classes)
        check_choice("norm", self.norm, ("batch", "frozen"))
        super().__post_init__()

    @nn.nowrap
    def make_backbone(self) -> Any:
        return make_encoder(self.encoder, self.norm, self.dtype)

    def setup(self) -> None:
        self.backbone = self.make_backbone()
        self.head = make_classifier(self.num_classes)
        self.box = BoxHead(self.places, self.hidden)

    def features(self, x: Images, *, train: bool = False) -> dict[str, Feature]:
        """The encoder's feature maps, in forward order."""
        return self.backbone.features(x, train=train)

    def __call__(self, x: Images, *, train: bool = False) -> dict[str, Float[Array, "batch _"]]:
        *_, last = self.features(x, train=train).values()
        last = at_least_float32(last)
        height, width = x.shape[1:3]
        sides = jnp.array([[width, height, width, height]], last.dtype)
        box = jnp.clip(self.box(last), 0, 1) * sides
        return {"logits": self.head(global_avg_pool(last)), "box": box}

    @nn.nowrap
    def feature_strides(self) -> dict[str, int]:
        """Stride of each map of `features`, in pixels of the image."""
        return self.make_backbone().feature_strides()


register("localizer", Localizer, IMAGENET)
