"""Faster R-CNN and Mask R-CNN: regions are proposed, and then each of them is looked at.

Sources: Ren, He, Girshick, Sun: "Faster R-CNN: Towards Real-Time Object Detection with Region
Proposal Networks", 2015; He, Gkioxari, Dollár, Girshick: "Mask R-CNN", 2017; on the feature pyramid
of Lin et al. 2017. The networks are torchvision's, with its initialization and its weights.
`tasks.RegionDetection` trains them and makes detections of their outputs.
"""

from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn
from flax.typing import Dtype
from jaxtyping import Array, Bool, Float

from cnn_jax.layers import grid_anchors, pyramid_roi_align
from cnn_jax.models import torch_names
from cnn_jax.models.arrays import Feature, Images
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
from cnn_jax.models.proposals import select_proposals
from cnn_jax.models.pyramid import PyramidBackbone
from cnn_jax.models.rcnn_heads import BoxHead, MaskHead, RPNHead, Version
from cnn_jax.models.registry import IMAGENET, register

RATIOS = (0.5, 1.0, 2.0)
"""Height / width of the anchors (section 3.1.1)."""
MAPS = 4
"""Maps of the encoder; one coarser level has anchors, but no regions."""
BOX_SIZE, MASK_SIZE = 7, 14
"""Cells of a region for its class and box, and for its mask."""


class RCNN(nn.Module):
    """Images to proposals, and the class and box of each of them.

    The steps can be called one by one: `propose`, `classify`, and with masks `segment`. Calling the
    model does the first two and returns a dict of

    - `levels`: the feature pyramid, without its coarsest level;
    - `rpn_logits` [batch, anchors], `rpn_deltas` [batch, anchors, 4], `anchors` [anchors, 4];
    - `proposals` [batch, number, 4] in pixels, best first, and `proposal_mask` [batch, number],
      which of them there are; they have no gradient;
    - `class_logits` [batch, number, classes] and `box_deltas` [batch, number, classes, 4].

    Images may have any size; they are padded with zeros at the bottom and right, to a multiple of
    the encoder's stride. `features` returns the encoder's maps. Parameters are `backbone/body`,
    `backbone/fpn`, `rpn`, `box` and `mask`. All outputs are float32 or wider.

    Attributes:
        encoder: a classifier's name, or a model with `features`, which is taken as it is. Its last
            maps of the four largest strides are used.
        masks: whether there is a mask head.
        version: see `rcnn_heads.Version`; the second has BatchNorm in the pyramid too. It is
            trained with statistics of the batch also where `norm` is "frozen".
        num_classes: number of classes, 0 the background.
        anchor_sizes: of each of five levels, in pixels.
        channels: of the pyramid and of the convolutions in the heads, whose linear layers have four
            times as many.
        canonical_size: the size of a region that belongs to the third level, in pixels. It is 224,
            that of the encoder's images, if the strides begin with 4.
        proposals: number of proposals in evaluation.
        proposals_train: number of proposals in training, of which few are used.
        norm: "frozen" normalizes with the encoder's running statistics, also in training, as
            torchvision does with pretrained bodies of version 1.
        norm_eps: added to the variance in the encoder's BatchNorm. None is its default. It is 0
            with torchvision's weights of COCO.
        dtype: dtype of the convolutions and hidden layers, such as bfloat16; parameters, statistics
            and the last layers stay float32. None is that of input and parameters.

    Raises:
        ConfigError: attributes that make no sense; images that are not [batch, height, width,
            channels].
    """

    encoder: Encoder
    masks: bool = False
    version: Version = 1
    num_classes: int = 91
    anchor_sizes: tuple[float, ...] = (32, 64, 128, 256, 512)
    channels: int = 256
    canonical_size: float = 224
    proposals: int = 1000
    proposals_train: int = 2000
    norm: Norm = "batch"
    norm_eps: float | None = None
    dtype: Dtype | None = None

    def __post_init__(self) -> None:
        self.num_classes = as_num_classes(self.num_classes)
        check_classes(self.num_classes)
        check_choice("norm", self.norm, ("batch", "frozen"))
        check_anchor_sizes(self.anchor_sizes, MAPS + 1)
        check_channels(self.channels, 1)
        super().__post_init__()

    @nn.nowrap
    def make_backbone(self) -> PyramidBackbone:
        return PyramidBackbone(
            self.encoder,
            MAPS,
            self.channels,
            "subsampled",
            self.norm,
            self.norm_eps,
            self.dtype,
            normalized=self.version == 2,
            parent=None,
        )

    def setup(self) -> None:
        self.backbone = self.make_backbone()
        options = self.channels, self.version, self.dtype
        self.rpn = RPNHead(len(RATIOS), *options)
        self.box = BoxHead(self.num_classes, *options)
        if self.masks:
            self.mask = MaskHead(self.num_classes, *options)

    def features(self, x: Images, *, train: bool = False) -> dict[str, Feature]:
        """The encoder's feature maps, in forward order."""
        return self.backbone.features(x, train=train)

    def propose(
        self, x: Images, sizes: Array | None = None, *, train: bool = False
    ) -> dict[str, Any]:
        """The outputs up to the proposals.

        Args:
            x: images, on a canvas.
            sizes: (height, width) of each image, [batch, 2]; None is that of the canvas.
            train: whether BatchNorm uses the batch's statistics, and whether there are as many
                proposals as in training.
        """
        check_images(x, 1)
        if sizes is None:
            sizes = jnp.tile(jnp.asarray(x.shape[1:3]), (len(x), 1))
        x = pad_to_multiple(x, max(self.backbone.taken().values()))
        levels = self.backbone(x, train=train)
        logits, deltas = zip(*(self.rpn(level) for level in levels), strict=True)
        anchors = tuple(
            jnp.asarray(
                grid_anchors(x.shape[1:3], level.shape[1:3], (size,), RATIOS), logits[0].dtype
            )
            for level, size in zip(levels, self.anchor_sizes, strict=True)
        )
        number = self.proposals_train if train else self.proposals

        def of_image(logits: Any, deltas: Any, size: Array) -> tuple[Array, Array]:
            return select_proposals(logits, deltas, anchors, size, number)

        proposals, mask = jax.vmap(of_image)(logits, deltas, sizes)
        return {
            "levels": levels[:-1],
            "rpn_logits": jnp.concatenate(logits, axis=1),
            "rpn_deltas": jnp.concatenate(deltas, axis=1),
            "anchors": jnp.concatenate(anchors),
            "proposals": proposals,
            "proposal_mask": mask,
        }

    def classify(
        self,
        levels: list[Array],
        boxes: Array,
        *,
        train: bool = False,
        mask: Bool[Array, "batch number"] | None = None,
    ) -> dict[str, Array]:
        """`class_logits` and `box_deltas` of boxes.

        Args:
            levels: of the outputs.
            boxes: [batch, number, 4], in pixels.
            train: whether BatchNorm uses the batch's statistics.
            mask: which boxes these statistics are of; None takes all.
        """
        regions, shape = self._regions(levels, boxes, BOX_SIZE), boxes.shape[:2]
        rows = None if mask is None else mask.ravel()
        logits, deltas = self.box(regions, train=train, rows=rows)
        return {
            "class_logits": logits.reshape(*shape, *logits.shape[1:]),
            "box_deltas": deltas.reshape(*shape, *deltas.shape[1:]),
        }

    def segment(
        self,
        levels: list[Array],
        boxes: Array,
        *,
        train: bool = False,
        mask: Bool[Array, "batch number"] | None = None,
    ) -> Float[Array, "batch number height width classes"]:
        """Logits of the mask of every class, 28x28 pixels for each of the boxes; see `classify`."""
        rows = None if mask is None else mask.ravel()
        logits = self.mask(self._regions(levels, boxes, MASK_SIZE), train=train, rows=rows)
        return logits.reshape(*boxes.shape[:2], *logits.shape[1:])

    def _regions(self, levels: list[Array], boxes: Array, size: int) -> Array:
        """The features of all boxes, as one batch."""
        strides = tuple(self.backbone.taken().values())
        regions = pyramid_roi_align(
            levels,
            boxes,
            size,
            strides=strides,
            canonical_size=self.canonical_size,
            canonical_level=strides[0].bit_length() + 1,
        )
        return regions.reshape(-1, *regions.shape[2:])

    def __call__(
        self, x: Images, sizes: Array | None = None, *, train: bool = False
    ) -> dict[str, Any]:
        outputs = self.propose(x, sizes, train=train)
        if self.masks and self.is_initializing():
            self.segment(outputs["levels"], outputs["proposals"][:, :1])
        proposals, mask = outputs["proposals"], outputs["proposal_mask"]
        return outputs | self.classify(outputs["levels"], proposals, train=train, mask=mask)

    @nn.nowrap
    def feature_strides(self) -> dict[str, int]:
        """Stride of each map of `features`, in pixels of the image."""
        return self.make_backbone().make_encoder().feature_strides()

    @nn.nowrap
    def torch_names(self) -> dict[str, str]:
        """Paths of all parameters and statistics in our variables, by torchvision's names."""
        names = torch_names.below("backbone", "backbone", self.make_backbone().torch_names())
        names |= RPNHead.torch_names(self.version, "rpn.head", "rpn")
        names |= BoxHead.torch_names(self.version, "roi_heads", "box")
        masks = MaskHead.torch_names(self.version, "roi_heads", "mask") if self.masks else {}
        return names | masks


_RESNET50: dict[str, Any] = {"module": RCNN, "example_shape": IMAGENET, "encoder": "resnet50"}

register("fasterrcnn_resnet50_fpn", **_RESNET50, masks=False, version=1)
register("fasterrcnn_resnet50_fpn_v2", **_RESNET50, masks=False, version=2)
register("maskrcnn_resnet50_fpn", **_RESNET50, masks=True, version=1)
register("maskrcnn_resnet50_fpn_v2", **_RESNET50, masks=True, version=2)
