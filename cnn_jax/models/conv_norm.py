"""Convolution and normalization, as the blocks of all families get them.

A model makes `conv` and `norm` once, in `setup`, with everything that its layers share (dtype,
initialization, eps), and hands them down. A block adds only what is its own:

    y = self.conv(64, 3, stride=2, padding=1, name="conv1")(x)
    y = self.norm(name="norm1", activation=relu)(y, train=train)
"""

from collections.abc import Callable
from dataclasses import KW_ONLY
from functools import partial
from typing import Any, Literal, Protocol, runtime_checkable

from flax import linen as nn
from jaxtyping import Array

from cnn_jax.layers import BatchNorm, relu
from cnn_jax.layers.activations import Activation
from cnn_jax.layers.windows import Padding, Size
from cnn_jax.models import torch_names

Norm = Literal["batch", "frozen"]
OptionalNorm = Literal["none", "batch", "frozen"]


@runtime_checkable
class MakeConv(Protocol):
    """Makes a convolution, such as `partial(Conv, use_bias=False)`, or a `ConvNormReLU`."""

    def __call__(
        self,
        features: int,
        kernel_size: Size,
        *,
        stride: Size = 1,
        padding: Padding = 0,
        dilation: Size = 1,
        groups: int = 1,
        name: str,
    ) -> Callable[..., Array]: ...


@runtime_checkable
class MakeNorm(Protocol):
    """Makes a normalization, see `make_norm`; it is called with an array and `train`.

    An activation that follows is given to it, because the gradient of both together keeps less.
    """

    def __call__(
        self, *, name: str, activation: Activation | None = None
    ) -> Callable[..., Array]: ...


def make_norm(norm: OptionalNorm, **options: Any) -> MakeNorm:
    """The normalization that a model's attribute `norm` names.

    Args:
        norm: "batch" is `BatchNorm`, "frozen" is `BatchNorm` with fixed statistics, and "none"
            applies the activation alone.
        options: attributes of `BatchNorm`.
    """
    if norm == "none":
        return _no_norm
    return partial(BatchNorm, frozen=norm == "frozen", **options)


def _no_norm(*, name: str, activation: Activation | None = None) -> Callable[..., Array]:
    return lambda x, *, train: activation(x) if activation else x


class ConvNormReLU(nn.Module):
    """Convolution, BatchNorm and ReLU: torchvision's `BasicConv2d`."""

    features: int
    kernel_size: Size
    _: KW_ONLY
    stride: Size = 1
    padding: Padding = 0
    dilation: Size = 1
    conv: MakeConv
    norm: MakeNorm

    @nn.compact
    def __call__(self, x: Array, *, train: bool) -> Array:
        conv = self.conv(
            self.features,
            self.kernel_size,
            stride=self.stride,
            padding=self.padding,
            dilation=self.dilation,
            name="conv",
        )
        return self.norm(name="norm", activation=relu)(conv(x), train=train)


def conv_norm_names(torch: str, path: str) -> dict[str, str]:
    """The entries of a `BasicConv2d` (see `torch_names`)."""
    return torch_names.conv(f"{torch}.conv", f"{path}/conv") | torch_names.norm(
        f"{torch}.bn", f"{path}/norm"
    )
