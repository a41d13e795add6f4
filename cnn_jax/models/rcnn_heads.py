"""The heads of R-CNNs: where there may be an object, and what is in a region."""

from functools import partial
from typing import Any, Literal

from flax import linen as nn
from flax.typing import Dtype
from jaxtyping import Array, Bool

from cnn_jax.layers import BatchNorm, Conv, ConvTranspose, Linear, flatten, relu
from cnn_jax.layers.initializers import he_kernel_init
from cnn_jax.models import torch_names
from cnn_jax.models.arrays import Feature, at_least_float32

Version = Literal[1, 2]
"""Torchvision's: the second has one more convolution for proposals, four before the linear layer of
a region, and BatchNorm in the heads (Li et al. 2021, "Benchmarking Detection Transfer Learning with
Vision Transformers")."""

CONVS = 4
"""Convolutions of a head on regions."""
Rows = Bool[Array, " regions"] | None
"""Which regions there are, for BatchNorm in training; None is all."""

normal = nn.initializers.normal(0.01)
zeros = nn.initializers.zeros_init()


class RPNHead(nn.Module):
    """Whether the anchors of each place have an object, and their deltas (Ren et al., figure 3)."""

    anchors: int
    channels: int
    version: Version
    dtype: Dtype | None

    def setup(self) -> None:
        conv = partial(Conv, kernel_init=normal, bias_init=zeros)
        self.convs = [
            conv(self.channels, 3, padding=1, dtype=self.dtype) for _ in range(self.version)
        ]
        self.logits = conv(self.anchors, 1)
        self.deltas = conv(4 * self.anchors, 1)

    def __call__(self, x: Feature) -> tuple[Array, Array]:
        for conv in self.convs:
            x = relu(conv(x))
        x = at_least_float32(x)
        return self.logits(x).reshape(len(x), -1), self.deltas(x).reshape(len(x), -1, 4)

    @staticmethod
    def torch_names(version: Version, torch: str, path: str) -> dict[str, str]:
        """The entries of torchvision's `RPNHead`."""
        names: dict[str, str] = {}
        for i in range(version):
            names |= torch_names.conv(f"{torch}.conv.{i}.0", f"{path}/convs_{i}", bias=True)
        names |= torch_names.conv(f"{torch}.cls_logits", f"{path}/logits", bias=True)
        return names | torch_names.conv(f"{torch}.bbox_pred", f"{path}/deltas", bias=True)


class RegionConvs(nn.Module):
    """Four 3x3 convolutions with ReLU, and in version 2 with BatchNorm."""

    channels: int
    version: Version
    dtype: Dtype | None

    @nn.compact
    def __call__(self, x: Feature, *, train: bool, rows: Rows) -> Feature:
        conv = partial(
            Conv,
            self.channels,
            3,
            padding=1,
            use_bias=self.version == 1,
            dtype=self.dtype,
            kernel_init=he_kernel_init,
            bias_init=zeros,
        )
        for number in range(CONVS):
            x = conv(name=f"conv{number}")(x)
            if self.version == 1:
                x = relu(x)
            else:
                norm = BatchNorm(dtype=self.dtype, activation=relu, name=f"norm{number}")
                x = norm(x, train=train, rows=rows)
        return x

    @staticmethod
    def torch_names(version: Version, torch: str, path: str) -> dict[str, str]:
        """The entries of torchvision's `MaskRCNNHeads`, or of the start of `FastRCNNConvFCHead`."""
        names: dict[str, str] = {}
        for i in range(CONVS):
            names |= torch_names.conv(f"{torch}.{i}.0", f"{path}/conv{i}", bias=version == 1)
            if version == 2:
                names |= torch_names.norm(f"{torch}.{i}.1", f"{path}/norm{i}")
        return names


class BoxHead(nn.Module):
    """The class of a region and its box for every class.

    Two linear layers before both; in version 2 four convolutions and one linear layer.
    """

    num_classes: int
    channels: int
    version: Version
    dtype: Dtype | None

    @nn.compact
    def __call__(self, x: Feature, *, train: bool, rows: Rows) -> tuple[Array, Array]:
        if self.version == 2:
            convs = RegionConvs(self.channels, self.version, self.dtype, name="convs")
            x = convs(x, train=train, rows=rows)
        hidden = 4 * self.channels
        x = relu(Linear(hidden, dtype=self.dtype, name="fc6")(flatten(x)))
        if self.version == 1:
            x = relu(Linear(hidden, dtype=self.dtype, name="fc7")(x))
        x = at_least_float32(x)
        deltas = Linear(4 * self.num_classes, name="deltas")(x)
        logits = Linear(self.num_classes, name="logits")(x)
        return logits, deltas.reshape(len(x), self.num_classes, 4)

    @staticmethod
    def torch_names(version: Version, torch: str, path: str) -> dict[str, str]:
        """The entries of torchvision's `FastRCNNPredictor` and what is before it."""
        layers = {"box_predictor.cls_score": "logits", "box_predictor.bbox_pred": "deltas"}
        names: dict[str, str] = {}
        if version == 1:
            layers |= {"box_head.fc6": "fc6", "box_head.fc7": "fc7"}
        else:
            # After the convolutions and the flattening.
            layers |= {f"box_head.{CONVS + 1}": "fc6"}
            names |= RegionConvs.torch_names(version, f"{torch}.box_head", f"{path}/convs")
        for theirs, ours in layers.items():
            names |= torch_names.linear(f"{torch}.{theirs}", f"{path}/{ours}")
        return names


class MaskHead(nn.Module):
    """A mask of 28x28 pixels for every class (He et al., figure 4, right)."""

    num_classes: int
    channels: int
    version: Version
    dtype: Dtype | None

    @nn.compact
    def __call__(self, x: Feature, *, train: bool, rows: Rows) -> Array:
        convs = RegionConvs(self.channels, self.version, self.dtype, name="convs")
        x = convs(x, train=train, rows=rows)
        options: Any = {"kernel_init": he_kernel_init, "bias_init": zeros}
        up = ConvTranspose(self.channels, 2, stride=2, dtype=self.dtype, **options, name="up")
        x = at_least_float32(relu(up(x)))
        return Conv(self.num_classes, 1, **options, name="logits")(x)

    @staticmethod
    def torch_names(version: Version, torch: str, path: str) -> dict[str, str]:
        """The entries of torchvision's `MaskRCNNHeads` and `MaskRCNNPredictor`."""
        names = RegionConvs.torch_names(version, f"{torch}.mask_head", f"{path}/convs")
        for theirs, ours in (("conv5_mask", "up"), ("mask_fcn_logits", "logits")):
            names |= torch_names.conv(f"{torch}.mask_predictor.{theirs}", f"{path}/{ours}", True)
        return names
