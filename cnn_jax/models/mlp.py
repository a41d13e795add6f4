"""Multilayer perceptrons of any depth and width, for classification and regression."""

import math
from collections.abc import Callable
from functools import partial
from typing import Literal

import jax.numpy as jnp
import numpy as np
from flax import linen as nn
from flax.typing import Dtype, Initializer
from jaxtyping import Array, Float

from cnn_jax.errors import ConfigError
from cnn_jax.layers import Dropout, Linear, activation
from cnn_jax.layers.initializers import torch_kernel_init
from cnn_jax.models.arrays import at_least_float32
from cnn_jax.models.checks import as_num_classes, check_choice
from cnn_jax.models.classifier import make_classifier
from cnn_jax.models.conv_norm import MakeNorm, OptionalNorm, make_norm
from cnn_jax.models.registry import MNIST, register

Inputs = Float[Array | np.ndarray, "batch *features"]
Hidden = Float[Array, "batch _"]
KernelInit = Literal["torch", "he", "glorot"]
Layer = Callable[..., nn.Module]

KERNEL_INITS: dict[str, Initializer] = {
    "torch": torch_kernel_init,
    "he": nn.initializers.variance_scaling(2.0, "fan_in", "normal"),
    "glorot": nn.initializers.glorot_uniform(),
}


def initialized_linear(kernel_init: KernelInit) -> Layer:
    """`Linear` with a named initialization.

    "torch" is PyTorch's default: kernel and bias uniform in ±1/sqrt(inputs). "he" is normal with
    variance 2/inputs, for ReLU (He et al. 2015, "Delving Deep into Rectifiers", equation 10).
    "glorot" is uniform with variance 2/(inputs + outputs), for tanh (Glorot and Bengio 2010,
    equation 16). With the last two, biases are zero.
    """
    check_choice("kernel_init", kernel_init, tuple(KERNEL_INITS))
    bias_init = None if kernel_init == "torch" else nn.initializers.zeros_init()
    return partial(Linear, kernel_init=KERNEL_INITS[kernel_init], bias_init=bias_init)


def as_vectors(x: Inputs) -> Hidden:
    """Flatten each example to a vector, in the order of its axes."""
    if x.ndim < 2:
        raise ConfigError(f"expected a batch of examples, [batch, …], got shape {x.shape}")
    # Not -1, which is ambiguous for an empty batch.
    return jnp.asarray(x).reshape(x.shape[0], math.prod(x.shape[1:]))


class MLPBody(nn.Module):
    """The hidden layers; returns their outputs `hidden1`, `hidden2`, …."""

    hidden: tuple[int, ...]
    activation: str
    dropout: float
    linear: Layer
    norm: MakeNorm

    @nn.compact
    def __call__(self, inputs: Inputs, *, train: bool) -> dict[str, Hidden]:
        activate = activation(self.activation)
        x, features = as_vectors(inputs), {}
        for number, width in enumerate(self.hidden, start=1):
            x = self.linear(width, name=f"hidden{number}")(x)
            x = self.norm(name=f"norm{number}", activation=activate)(x, train=train)
            x = features[f"hidden{number}"] = Dropout(self.dropout)(x, train=train)
        return features


class MLP(nn.Module):
    """Multilayer perceptron: examples of any shape to [batch, num_classes], float32 or wider.

    Each hidden layer consists of a linear layer, optional BatchNorm, activation and dropout. The
    output layer is linear. `features` returns the outputs of the hidden layers, `hidden1`,
    `hidden2`, ….

    Attributes:
        hidden: number of neurons of each hidden layer; () is a linear model.
        num_classes: number of outputs: classes, or targets of a regression; 0 or None gives the
            features before the last layer.
        activation: name of the hidden layers' activation, see `cnn_jax.layers.activation`.
        dropout: dropout rate after each hidden layer (rng "dropout").
        kernel_init: "torch", "he" or "glorot", see `initialized_linear`.
        norm: "batch" adds BatchNorm before each activation; "frozen" normalizes with the running
            statistics, also in training.
        dtype: dtype of the hidden layers' computation, such as bfloat16; parameters, statistics
            and the output layer stay float32. None is that of input and parameters.

    Raises:
        ConfigError: attributes that make no sense; an input without a batch axis.
    """

    hidden: tuple[int, ...] = (256, 128, 100)
    num_classes: int | None = 10
    activation: str = "relu"
    dropout: float = 0.0
    kernel_init: KernelInit = "torch"
    norm: OptionalNorm = "none"
    dtype: Dtype | None = None

    def __post_init__(self) -> None:
        self.num_classes = as_num_classes(self.num_classes)
        if min(self.hidden, default=1) < 1:
            raise ConfigError(
                f"every hidden layer needs at least one neuron, got hidden={self.hidden}"
            )
        activation(self.activation)
        check_choice("kernel_init", self.kernel_init, tuple(KERNEL_INITS))
        check_choice("norm", self.norm, ("none", "batch", "frozen"))
        super().__post_init__()

    def setup(self) -> None:
        linear = initialized_linear(self.kernel_init)
        hidden = partial(linear, use_bias=self.norm == "none", dtype=self.dtype)
        norm = make_norm(self.norm, dtype=self.dtype)
        self.body = MLPBody(self.hidden, self.activation, self.dropout, hidden, norm)
        self.head = make_classifier(self.num_classes, linear)

    def features(self, x: Inputs, *, train: bool = False) -> dict[str, Hidden]:
        """The hidden layers' outputs, in forward order."""
        return self.body(x, train=train)

    def __call__(self, x: Inputs, *, train: bool = False) -> Float[Array, "batch outputs"]:
        *_, last = (as_vectors(x), *self.body(x, train=train).values())
        return self.head(at_least_float32(last))

    @nn.nowrap
    def feature_strides(self) -> dict[str, int]:
        """Stride of each map of `features`, in pixels of the image; vectors have none."""
        return {}


register("mlp", MLP, MNIST)
