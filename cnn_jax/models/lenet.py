"""LeNet-5, for handwritten digits.

Source: LeCun, Bottou, Bengio, Haffner: "Gradient-Based Learning Applied to Document Recognition",
1998, section II.B, in the form that is common today. In the paper, pooling has a trainable factor
and bias for each map (6 and 16 of both) and a tanh, each map of the second convolution sees only
some maps of the first (table I), tanh is 1.7159 tanh(2/3 x), and the output is the distance to a
drawn picture of each class.
"""

from functools import partial

import jax.numpy as jnp
from flax import linen as nn
from flax.typing import Dtype
from jaxtyping import Array, Float

from cnn_jax.layers import Conv, Linear, avg_pool, flatten, tanh
from cnn_jax.models import torch_names
from cnn_jax.models.arrays import Feature, Images, Logits, at_least_float32
from cnn_jax.models.checks import check_images
from cnn_jax.models.conv_norm import MakeConv
from cnn_jax.models.registry import MNIST, register


class LeNetBody(nn.Module):
    """Returns `conv1` and `conv2` after tanh, `stage1` and `stage2` after pooling."""

    padding: int
    conv: MakeConv

    @nn.compact
    def __call__(self, images: Images) -> dict[str, Feature]:
        check_images(images, 16 - 2 * self.padding)
        features = {}
        x = self.conv(6, 5, padding=self.padding, name="conv1")(jnp.asarray(images))
        x = features["conv1"] = tanh(x)
        x = features["stage1"] = avg_pool(x, 2)
        x = features["conv2"] = tanh(self.conv(16, 5, name="conv2")(x))
        features["stage2"] = avg_pool(x, 2)
        return features


class LeNetHead(nn.Module):
    """Three linear layers; for a 5x5 map the first is the paper's convolution C5."""

    num_classes: int

    @nn.compact
    def __call__(self, x: Float[Array, "batch features"]) -> Logits:
        x = tanh(Linear(120, name="fc1")(x))
        x = tanh(Linear(84, name="fc2")(x))
        return Linear(self.num_classes, name="fc3")(x)


class LeNet(nn.Module):
    """Images to logits [batch, num_classes], float32 or wider.

    With the defaults it has 61,706 parameters for gray images of 28x28 pixels. `features` returns
    the maps `conv1` and `conv2` after tanh, each followed by the pooled map `stage1` or `stage2`.

    Attributes:
        padding: width of the border of zeros. 2 extends 28x28 pixels to the paper's 32x32.
        num_classes: number of outputs.
        dtype: dtype of the body's computation, such as bfloat16; parameters and the classifier
            stay float32. None is that of input and parameters.

    Raises:
        ConfigError: images that are not [batch, height, width, channels] or that are too small for
            the convolutions (12x12 with padding 2).
    """

    padding: int = 2
    num_classes: int = 10
    dtype: Dtype | None = None

    def setup(self) -> None:
        self.body = LeNetBody(self.padding, partial(Conv, dtype=self.dtype))
        self.head = LeNetHead(self.num_classes)

    def features(self, x: Images, *, train: bool = False) -> dict[str, Feature]:
        """The feature maps, in forward order."""
        return self.body(x)

    def __call__(self, x: Images, *, train: bool = False) -> Logits:
        *_, last = self.body(x).values()
        return self.head(flatten(at_least_float32(last)))

    @nn.nowrap
    def feature_strides(self) -> dict[str, int]:
        """Stride of each map of `features`, in pixels of the image."""
        return {"conv1": 1, "stage1": 2, "conv2": 2, "stage2": 4}

    @nn.nowrap
    def torch_names(self) -> dict[str, str]:
        """Paths of all parameters in our variables, by the names in PyTorch's tutorial."""
        names: dict[str, str] = {}
        for number in (1, 2):
            names |= torch_names.conv(f"conv{number}", f"body/conv{number}", bias=True)
        for number in (1, 2, 3):
            names |= torch_names.linear(f"fc{number}", f"head/fc{number}")
        return names


register("lenet5", LeNet, MNIST)
