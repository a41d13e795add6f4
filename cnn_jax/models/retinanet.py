"""RetinaNet: boxes and classes at every place of a feature pyramid, in one stage.

Source: Lin, Goyal, Girshick, He, Dollár: "Focal Loss for Dense Object Detection", 2017; sections 4
and 4.1. The networks are torchvision's, with its initialization and its weights. `tasks.Detection`
trains them and makes detections of their outputs.
"""

import math
from functools import partial
from typing import Any, Literal

import jax.numpy as jnp
from flax import linen as nn
from flax.typing import Dtype
from jaxtyping import Array, Float

from cnn_jax.layers import Conv, GroupNorm, grid_anchors, relu
from cnn_jax.models import torch_names
from cnn_jax.models.arrays import Feature, Images, at_least_float32
from cnn_jax.models.checks import (
    as_num_classes,
    check_anchor_sizes,
    check_channels,
    check_choice,
    check_classes,
    check_images,
)
from cnn_jax.models.conv_norm import Norm
from cnn_jax.models.encoder import Encoder, pad_to_multiple
from cnn_jax.models.pyramid import PyramidBackbone
from cnn_jax.models.registry import IMAGENET, register

RATIOS = (0.5, 1.0, 2.0)
"""Height / width of the anchors (section 4)."""
PRIOR = 0.01
"""Probability of an object with which the training begins (section 4.1)."""
MAPS = 3
"""Maps of the encoder; two coarser levels are added."""
GROUPS = 32
"""Groups of the second version's GroupNorm."""

DetectorOutputs = dict[str, tuple[Float[Array, "..."], ...]]
"""Of each level: `logits` [batch, anchors, classes], `deltas` [batch, anchors, 4] for
`decode_boxes`, and the `anchors` [anchors, 4] in pixels."""

normal = nn.initializers.normal(0.01)
zeros = nn.initializers.zeros_init()


class RetinaNetHead(nn.Module):
    """Four 3x3 convolutions and a last one, the same at all levels (figure 3, c and d).

    Returns `outputs` numbers for each anchor, [batch, anchors, outputs].
    """

    anchors: int
    outputs: int
    channels: int
    group_norm: bool
    bias: float
    dtype: Dtype | None

    def setup(self) -> None:
        conv = partial(Conv, dtype=self.dtype, kernel_init=normal, bias_init=zeros)
        use_bias = not self.group_norm
        self.convs = [conv(self.channels, 3, padding=1, use_bias=use_bias) for _ in range(4)]
        if self.group_norm:
            self.norms = [GroupNorm(GROUPS, dtype=self.dtype) for _ in range(4)]
        self.last = Conv(
            self.anchors * self.outputs,
            3,
            padding=1,
            kernel_init=normal,
            bias_init=nn.initializers.constant(self.bias),
        )

    def __call__(self, x: Feature) -> Float[Array, "batch anchors outputs"]:
        for number, conv in enumerate(self.convs):
            x = conv(x)
            x = relu(self.norms[number](x) if self.group_norm else x)
        return self.last(at_least_float32(x)).reshape(len(x), -1, self.outputs)

    @staticmethod
    def torch_names(group_norm: bool, last: str, torch: str, path: str) -> dict[str, str]:
        """The entries of torchvision's `RetinaNetClassificationHead` or `…RegressionHead`."""
        names: dict[str, str] = {}
        for i in range(4):
            conv = f"{torch}.conv.{i}"
            names |= torch_names.conv(f"{conv}.0", f"{path}/convs_{i}", bias=not group_norm)
            if group_norm:
                names[f"{conv}.1.weight"] = f"params/{path}/norms_{i}/scale"
                names[f"{conv}.1.bias"] = f"params/{path}/norms_{i}/bias"
        return names | torch_names.conv(f"{torch}.{last}", f"{path}/last", bias=True)


class RetinaNet(nn.Module):
    """Images to `DetectorOutputs`, float32 or wider.

    Images may have any size; they are padded with zeros at the bottom and right, to a multiple of
    the encoder's stride. `features` returns the encoder's maps. Parameters are `backbone/body`,
    `backbone/fpn`, `classification` and `regression`.

    Attributes:
        encoder: a classifier's name, or a model with `features`, which is taken as it is. Its last
            maps of the three largest strides are used.
        version: 2 is torchvision's second version (Zhang et al. 2019): GroupNorm in the heads, and
            coarser levels from the encoder's map. It is trained with GIoU.
        num_classes: number of outputs of each anchor, by torchvision's count with a background,
            which no anchor has as its target.
        anchor_sizes: the smallest anchor of each level, in pixels; there are two more sizes
            between it and its double, in three shapes each.
        channels: of the pyramid and the heads; in version 2 a multiple of 32.
        norm: "frozen" normalizes with the running statistics, also in training, as torchvision
            does with pretrained bodies.
        norm_eps: added to the variance in the encoder's BatchNorm. None is its default. It is 0
            with torchvision's `retinanet_resnet50_fpn` of COCO.
        dtype: dtype of the convolutions, such as bfloat16; parameters, statistics and the last
            layers stay float32. None is that of input and parameters.

    Raises:
        ConfigError: attributes that make no sense; images that are not [batch, height, width,
            channels].
    """

    encoder: Encoder
    version: Literal[1, 2] = 1
    num_classes: int = 91
    anchor_sizes: tuple[float, ...] = (32, 64, 128, 256, 512)
    channels: int = 256
    norm: Norm = "batch"
    norm_eps: float | None = None
    dtype: Dtype | None = None

    def __post_init__(self) -> None:
        self.num_classes = as_num_classes(self.num_classes)
        check_classes(self.num_classes)
        check_choice("norm", self.norm, ("batch", "frozen"))
        check_anchor_sizes(self.anchor_sizes, MAPS + 2)
        check_channels(self.channels, GROUPS if self.version == 2 else 1)
        super().__post_init__()

    @nn.nowrap
    def make_backbone(self) -> PyramidBackbone:
        coarser: Any = {1: "p5", 2: "c5"}[self.version]
        return PyramidBackbone(
            self.encoder,
            MAPS,
            self.channels,
            coarser,
            self.norm,
            self.norm_eps,
            self.dtype,
            parent=None,
        )

    def setup(self) -> None:
        self.backbone = self.make_backbone()
        anchors, rest = 3 * len(RATIOS), (self.channels, self.version == 2)
        prior = -math.log((1 - PRIOR) / PRIOR)
        self.classification = RetinaNetHead(anchors, self.num_classes, *rest, prior, self.dtype)
        self.regression = RetinaNetHead(anchors, 4, *rest, 0.0, self.dtype)

    def features(self, x: Images, *, train: bool = False) -> dict[str, Feature]:
        """The encoder's feature maps, in forward order."""
        return self.backbone.features(x, train=train)

    def __call__(self, x: Images, *, train: bool = False) -> DetectorOutputs:
        check_images(x, 1)
        x = pad_to_multiple(x, max(self.backbone.taken().values()))
        levels = self.backbone(x, train=train)
        logits = tuple(self.classification(level) for level in levels)
        anchors = []
        for level, size in zip(levels, self.anchor_sizes, strict=True):
            # Rounded down, as in torchvision.
            sizes = [int(size * 2 ** (i / 3)) for i in range(3)]
            anchors.append(grid_anchors(x.shape[1:3], level.shape[1:3], sizes, RATIOS))
        return {
            "logits": logits,
            "deltas": tuple(self.regression(level) for level in levels),
            "anchors": tuple(jnp.asarray(a, logits[0].dtype) for a in anchors),
        }

    @nn.nowrap
    def feature_strides(self) -> dict[str, int]:
        """Stride of each map of `features`, in pixels of the image."""
        return self.make_backbone().make_encoder().feature_strides()

    @nn.nowrap
    def torch_names(self) -> dict[str, str]:
        """Paths of all parameters and statistics in our variables, by torchvision's names."""
        names = torch_names.below("backbone", "backbone", self.make_backbone().torch_names())
        for head, last in (("classification", "cls_logits"), ("regression", "bbox_reg")):
            torch = f"head.{head}_head"
            names |= RetinaNetHead.torch_names(self.version == 2, last, torch, head)
        return names


register("retinanet_resnet50_fpn", RetinaNet, IMAGENET, encoder="resnet50", version=1)
register("retinanet_resnet50_fpn_v2", RetinaNet, IMAGENET, encoder="resnet50", version=2)
