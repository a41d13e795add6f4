"""Detection and instance segmentation in two stages: proposals, and what is in each of them."""

from dataclasses import dataclass
from functools import partial
from typing import Any, ClassVar

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Key, PyTree

from cnn_jax.errors import ConfigError
from cnn_jax.layers.mesh_axes import mapped_axes
from cnn_jax.tasks.apply import Spec, init_model
from cnn_jax.tasks.detection import check_boxes, image_sizes
from cnn_jax.tasks.detections import detections_of_regions
from cnn_jax.tasks.metrics import mean
from cnn_jax.tasks.region_losses import (
    mask_losses,
    proposal_losses,
    region_losses,
    sample_regions,
)

LOSSES = ("objectness_loss", "proposal_box_loss", "classification_loss", "box_loss")


@dataclass(frozen=True)
class RegionDetection:
    """Train a Faster R-CNN or Mask R-CNN, as torchvision does.

    ``batch["boxes"]`` [batch, most, 4] are the objects' boxes in pixels, ``batch["box_labels"]``
    [batch, most] their classes, -1 for padding. ``batch["size"]`` [batch, 2] is the height and the
    width of each image on its canvas, where they differ from the canvas's. Boxes without area are
    left out. With masks, ``batch["instances"]`` [batch, height, width] has the number of the object
    at each pixel, counted from 1 in the order of the boxes, and 0 elsewhere.

    The loss is the sum of four losses, or five, each a mean over what was sampled in the batch: of
    the anchors, whether there is an object, and its box; of the proposals, the class and the box;
    and of the proposals that have an object, its mask. The sampling takes the key of the step. In
    evaluation there are samples too, always the same.

    Attributes:
        model: linen module like `models.RCNN`.
        background: whether class 0 of the data set is the background. Otherwise its classes are
            larger by one in the model, whose class 0 is the background.
        anchors: samples of an image's anchors, half of them with an object at most.
        regions: samples of an image's proposals, a quarter of them with an object at most.
        score_threshold, iou_threshold, most: of the detections, see `detections_of_regions`.

    Raises:
        ConfigError: in `check`, for a data set that does not fit.
    """

    model: nn.Module
    background: bool = True
    anchors: int = 256
    regions: int = 512
    score_threshold: float = 0.05
    iou_threshold: float = 0.5
    most: int = 100

    best_metric: ClassVar[str] = "loss"
    higher_is_better: ClassVar[bool] = False

    @property
    def masks(self) -> bool:
        """Whether the model has masks."""
        return bool(getattr(self.model, "masks", False))

    @property
    def losses(self) -> tuple[str, ...]:
        """Names of the losses that are added up."""
        return (*LOSSES, "mask_loss") if self.masks else LOSSES

    @property
    def metrics(self) -> tuple[str, ...]:
        """Names of the metrics."""
        return ("loss", *self.losses)

    def check(self, dataset: Any) -> None:
        """Raise ConfigError without boxes or, for masks, instances, or with too many classes."""
        check_boxes(dataset)
        if self.masks and "instances" not in dataset.spec:
            raise ConfigError(
                f"masks need the entry 'instances', which {dataset.title} does not have; create "
                "the model with masks=False"
            )
        outputs: int = getattr(self.model, "num_classes", 0)
        needed = dataset.num_classes + (not self.background)
        if outputs < needed:
            raise ConfigError(
                f"the model has {outputs} outputs, and {dataset.title} needs {needed}, one of them "
                f"for the background; create the model with num_classes={needed}"
            )

    def init(self, key: Key[Array, ""], spec: Spec) -> tuple[PyTree, PyTree]:
        """Fresh ``(params, model_state)`` for examples of a spec."""
        return init_model(self.model, key, spec)

    def loss_fn(
        self,
        params: PyTree,
        model_state: PyTree,
        batch: dict[str, Array],
        key: Key[Array, ""],
        train: bool,
    ) -> tuple[Array, tuple[PyTree, dict[str, Array]]]:
        """Weighted sum of the loss, the new model state, and sums for the metrics."""
        variables, sizes = {"params": params, **model_state}, image_sizes(batch)
        apply: Any = self.model.apply
        options: dict[str, Any] = {"train": train, "method": "propose"}
        if train:
            outputs, model_state = apply(
                variables, batch["image"], sizes, **options, mutable=list(model_state)
            )
        else:
            outputs = apply(variables, batch["image"], sizes, **options)
        boxes = batch["boxes"].astype(outputs["anchors"].dtype)
        labels = self._in_model(batch["box_labels"])
        keys = jax.random.split(key, (2, len(boxes)))

        def of_anchors(
            key: Array, logits: Array, deltas: Array, boxes: Array, labels: Array
        ) -> Any:
            anchors = outputs["anchors"]
            return proposal_losses(key, logits, deltas, anchors, boxes, labels, self.anchors)

        rpn = outputs["rpn_logits"], outputs["rpn_deltas"]
        losses, counts = jax.vmap(of_anchors)(keys[0], *rpn, boxes, labels)
        regions = jax.vmap(partial(sample_regions, number=self.regions))(
            keys[1], outputs["proposals"], outputs["proposal_mask"], boxes, labels
        )
        levels = outputs["levels"]
        found = apply(variables, levels, regions["boxes"], method="classify")
        more = jax.vmap(region_losses)(found["class_logits"], found["box_deltas"], regions, boxes)
        losses, counts = losses | more[0], counts | more[1]
        if self.masks:
            # Positives come first.
            positives = jax.tree.map(lambda a: a[:, : self.regions // 4], regions)
            logits = apply(variables, levels, positives["boxes"], method="segment")
            more = jax.vmap(mask_losses)(logits, positives, batch["instances"])
            losses, counts = losses | more[0], counts | more[1]
        sums = _means_of_samples(losses, counts, batch["weight"])
        loss = jnp.stack([sums[name] for name in self.losses]).sum()
        return loss, (model_state, sums)

    def predict(
        self, params: PyTree, model_state: PyTree, batch: dict[str, Array]
    ) -> dict[str, Array]:
        """The `PaddedDetections` of every image; with masks also `masks` [batch, most, 28, 28].

        A mask has the probabilities of the object's pixels within its box; `paste_masks` puts them
        into the image.
        """
        variables, sizes = {"params": params, **model_state}, image_sizes(batch)
        apply: Any = self.model.apply
        outputs = apply(variables, batch["image"], sizes, train=False)

        def of_image(*arrays: Array) -> dict[str, Array]:
            return detections_of_regions(
                *arrays,
                score_threshold=self.score_threshold,
                iou_threshold=self.iou_threshold,
                most=self.most,
            )

        names = ("class_logits", "box_deltas", "proposals", "proposal_mask")
        found = jax.vmap(of_image)(*(outputs[name] for name in names), sizes)
        labels = found["box_labels"]
        if self.masks:
            logits = apply(variables, outputs["levels"], found["boxes"], method="segment")
            chosen = jnp.maximum(labels, 0)[:, :, None, None, None]
            logits = jnp.take_along_axis(logits, chosen, axis=-1)[..., 0]
            found["masks"] = jax.nn.sigmoid(logits)
        if not self.background:
            found["box_labels"] = jnp.maximum(labels - 1, -1)
        return found

    def summarize(self, sums: dict[str, Any]) -> dict[str, float]:
        """Mean losses from added-up sums."""
        return {name: mean(sums[name], sums["weight"]) for name in self.metrics}

    def _in_model(self, labels: Array) -> Array:
        """Classes by the model's numbers; what is background there is no object."""
        if not self.background:
            return jnp.where(labels >= 0, labels + 1, -1)
        return jnp.where(labels > 0, labels, -1)


def _means_of_samples(
    losses: dict[str, Array], counts: dict[str, Array], weight: Array
) -> dict[str, Array]:
    """Sums of the losses over this device's images, scaled so that they add up to weight * mean.

    The mean is over the samples of all images of the batch, on all devices.
    """
    weight = weight.astype(next(iter(losses.values())).dtype)
    sums = {"weight": jnp.sum(weight)}
    for name, loss in losses.items():
        whole = jnp.stack([sums["weight"], jnp.sum(weight * counts[name])])
        if axes := mapped_axes():
            whole = lax.psum(whole, axes)
        scale = whole[0] / jnp.where(whole[1] > 0, whole[1], 1)
        sums[name] = jnp.sum(weight * loss) * scale
    return sums
