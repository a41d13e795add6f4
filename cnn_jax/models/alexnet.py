"""AlexNet, the network that won the ImageNet challenge in 2012.

Source: Krizhevsky, Sutskever, Hinton: "ImageNet Classification with Deep Convolutional Neural
Networks", 2012. The network is torchvision's, with its weights. It follows Krizhevsky: "One weird
trick for parallelizing convolutional neural networks", 2014: one tower instead of two, with 64,
192, 384, 256 and 256 maps, and no local response normalization. Adaptive pooling allows images of
other sizes than 224x224. The initialization is PyTorch's default, as in torchvision (the paper's is
N(0, 0.01), with biases of one in half of the layers).
"""

from functools import partial

import jax.numpy as jnp
from flax import linen as nn
from flax.typing import Dtype
from jaxtyping import Array, Float

from cnn_jax.layers import Conv, Dropout, Linear, adaptive_avg_pool, flatten, max_pool, relu
from cnn_jax.models import torch_names
from cnn_jax.models.arrays import Feature, Images, Logits, at_least_float32
from cnn_jax.models.checks import as_num_classes, check_images
from cnn_jax.models.classifier import classifier_names
from cnn_jax.models.conv_norm import MakeConv
from cnn_jax.models.registry import IMAGENET, register


class AlexNetBody(nn.Module):
    """Returns `conv1` to `conv5` after ReLU and `stage1` to `stage3` after pooling."""

    conv: MakeConv

    @nn.compact
    def __call__(self, images: Images) -> dict[str, Feature]:
        check_images(images, 63)
        # Overlapping pooling (section 3.4 of the paper).
        pool = partial(max_pool, window=3, stride=2)
        features = {}
        x = jnp.asarray(images)
        x = features["conv1"] = relu(self.conv(64, 11, stride=4, padding=2, name="conv1")(x))
        x = features["stage1"] = pool(x)
        x = features["conv2"] = relu(self.conv(192, 5, padding=2, name="conv2")(x))
        x = features["stage2"] = pool(x)
        x = features["conv3"] = relu(self.conv(384, 3, padding=1, name="conv3")(x))
        x = features["conv4"] = relu(self.conv(256, 3, padding=1, name="conv4")(x))
        x = features["conv5"] = relu(self.conv(256, 3, padding=1, name="conv5")(x))
        features["stage3"] = pool(x)
        return features


class AlexNetHead(nn.Module):
    """Three linear layers with dropout before the first two."""

    hidden: tuple[int, int]
    dropout: float
    num_classes: int | None

    @nn.compact
    def __call__(self, x: Float[Array, "batch features"], *, train: bool) -> Logits:
        for name, width in zip(("fc6", "fc7"), self.hidden, strict=True):
            x = Dropout(self.dropout)(x, train=train)
            x = relu(Linear(width, name=name)(x))
        return Linear(self.num_classes, name="fc8")(x) if self.num_classes else x


class AlexNet(nn.Module):
    """Images to logits [batch, num_classes], float32 or wider.

    `features` returns the maps `conv1` to `conv5` after their ReLU and the pooled maps `stage1` to
    `stage3`.

    Attributes:
        hidden: number of neurons of the classifier's two hidden layers.
        dropout: dropout rate before each hidden layer (rng "dropout").
        num_classes: number of outputs; 0 or None gives the features before the last layer.
        dtype: dtype of the body's computation, such as bfloat16; parameters and the classifier
            stay float32. None is that of input and parameters.

    Raises:
        ConfigError: images that are not [batch, height, width, channels] or that are smaller than
            63x63.
    """

    hidden: tuple[int, int] = (4096, 4096)
    dropout: float = 0.5
    num_classes: int | None = 1000
    dtype: Dtype | None = None

    def __post_init__(self) -> None:
        self.num_classes = as_num_classes(self.num_classes)
        super().__post_init__()

    def setup(self) -> None:
        self.body = AlexNetBody(partial(Conv, dtype=self.dtype))
        self.head = AlexNetHead(self.hidden, self.dropout, self.num_classes)

    def features(self, x: Images, *, train: bool = False) -> dict[str, Feature]:
        """The feature maps, in forward order."""
        return self.body(x)

    def __call__(self, x: Images, *, train: bool = False) -> Logits:
        *_, last = self.body(x).values()
        return self.head(flatten(adaptive_avg_pool(at_least_float32(last), 6)), train=train)

    @nn.nowrap
    def feature_strides(self) -> dict[str, int]:
        """Stride of each map of `features`, in pixels of the image."""
        strides = {"conv1": 4, "stage1": 8, "conv2": 8, "stage2": 16}
        return strides | {"conv3": 16, "conv4": 16, "conv5": 16, "stage3": 32}

    @nn.nowrap
    def torch_names(self) -> dict[str, str]:
        """Paths of all parameters in our variables, by torchvision's names."""
        names: dict[str, str] = {}
        for number, position in enumerate((0, 3, 6, 8, 10), start=1):
            names |= torch_names.conv(f"features.{position}", f"body/conv{number}", bias=True)
        for number, position in ((6, 1), (7, 4)):
            names |= torch_names.linear(f"classifier.{position}", f"head/fc{number}")
        return names | classifier_names(self.num_classes, "classifier.6", "head/fc8")


register("alexnet", AlexNet, IMAGENET)
