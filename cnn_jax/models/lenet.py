"""LeNet-5, for handwritten digits.

Source: LeCun, Bottou, Bengio, Haffner: "Gradient-Based Learning Applied to Document Recognition",
1998, section II.B, in the form that is common today. In the paper, pooling has a trainable factor
and bias for each map (6 and 16 of both) and a tanh, each map of the second convolution sees only
some maps of the first (table I), tanh is 1.7159 tanh(2/3 x), and the output is the distance to a
drawn picture of each class. `cifar_lenet5` is the network of PyTorch's tutorial "Training a
Classifier", which has the same layers with ReLU and max pooling.
"""

from collections.abc import Callable
from functools import partial
from typing import Literal

import jax.numpy as jnp
from flax import linen as nn
from flax.typing import Dtype
from jaxtyping import Array, Float

from cnn_jax.layers import Conv, Linear, activation, avg_pool, flatten, max_pool
from cnn_jax.models import torch_names
from cnn_jax.models.arrays import Feature, Images, Logits, at_least_float32
from cnn_jax.models.checks import as_num_classes, check_choice, check_images
from cnn_jax.models.classifier import classifier_names
from cnn_jax.models.conv_norm import MakeConv
from cnn_jax.models.registry import CIFAR, MNIST, register

Pooling = Literal["average", "max"]

POOLINGS: dict[str, Callable[..., Array]] = {"average": avg_pool, "max": max_pool}


class LeNetBody(nn.Module):
    """Returns `conv1` and `conv2` after activation, `stage1` and `stage2` after pooling."""

    padding: int
    conv: MakeConv
    activation: str
    pooling: Pooling

    @nn.compact
    def __call__(self, images: Images) -> dict[str, Feature]:
        check_images(images, 16 - 2 * self.padding)
        activate, pool = activation(self.activation), POOLINGS[self.pooling]
        features = {}
        x = self.conv(6, 5, padding=self.padding, name="conv1")(jnp.asarray(images))
        x = features["conv1"] = activate(x)
        x = features["stage1"] = pool(x, 2)
        x = features["conv2"] = activate(self.conv(16, 5, name="conv2")(x))
        features["stage2"] = pool(x, 2)
        return features


class LeNetHead(nn.Module):
    """Three linear layers; for a 5x5 map the first is the paper's convolution C5."""

    num_classes: int | None
    activation: str

    @nn.compact
    def __call__(self, x: Float[Array, "batch features"]) -> Logits:
        activate = activation(self.activation)
        x = activate(Linear(120, name="fc1")(x))
        x = activate(Linear(84, name="fc2")(x))
        return Linear(self.num_classes, name="fc3")(x) if self.num_classes else x


class LeNet(nn.Module):
    """Images to logits [batch, num_classes], float32 or wider.

    With the defaults it has 61,706 parameters for gray images of 28x28 pixels. `features` returns
    the maps `conv1` and `conv2` after activation, each followed by the pooled map `stage1` or
    `stage2`.

    Attributes:
        padding: width of the border of zeros. 2 extends 28x28 pixels to the paper's 32x32.
        num_classes: number of outputs; 0 or None gives the features before the last layer.
        activation: after all layers but the last; the paper's is "tanh" (see `activation`).
        pooling: "average", as in the paper, or "max".
        dtype: dtype of the body's computation, such as bfloat16; parameters and the classifier
            stay float32. None is that of input and parameters.

    Raises:
        ConfigError: another activation or pooling; images that are not [batch, height, width,
            channels] or that are too small for the convolutions (12x12 with padding 2).
    """

    padding: int = 2
    num_classes: int | None = 10
    activation: str = "tanh"
    pooling: Pooling = "average"
    dtype: Dtype | None = None

    def __post_init__(self) -> None:
        self.num_classes = as_num_classes(self.num_classes)
        activation(self.activation)
        check_choice("pooling", self.pooling, tuple(POOLINGS))
        super().__post_init__()

    def setup(self) -> None:
        conv = partial(Conv, dtype=self.dtype)
        self.body = LeNetBody(self.padding, conv, self.activation, self.pooling)
        self.head = LeNetHead(self.num_classes, self.activation)

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
        for number in (1, 2):
            names |= torch_names.linear(f"fc{number}", f"head/fc{number}")
        return names | classifier_names(self.num_classes, "fc3", "head/fc3")

    @property
    def torch_note(self) -> str:
        """What `from_torch` says, because names and shapes do not tell two networks apart."""
        if self.padding or (self.activation, self.pooling) != ("tanh", "average"):
            return ""
        return (
            "these weights are used with tanh and average pooling. If they are those of PyTorch's "
            "tutorial, whose LeNet has the same names and shapes but ReLU and max pooling, create "
            "the model 'cifar_lenet5', or set activation='relu' and pooling='max'"
        )


register("lenet5", LeNet, MNIST)
register("cifar_lenet5", LeNet, CIFAR, padding=0, activation="relu", pooling="max")
