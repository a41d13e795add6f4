"""Detection and instance segmentation in two stages: proposals, and what is in each of them."""

from dataclasses import dataclass
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Key, PyTree

from cnn_jax.errors import ConfigError
from cnn_jax.tasks.background import check_with_background, with_background, without_background
from cnn_jax.tasks.detection import DetectorTask, check_boxes, image_sizes, scored_images
from cnn_jax.tasks.detection_metrics import coco_scores
from cnn_jax.tasks.detections import detections_of_regions
from cnn_jax.tasks.metrics import sums_of_means
from cnn_jax.tasks.region_losses import (
    mask_losses,
    proposal_losses,
    region_losses,
    sample_regions,
)

PARTS = ("objectness_loss", "proposal_box_loss", "classification_loss", "box_loss")
"""The losses that are added up; with masks also `mask_loss`."""


@dataclass(frozen=True)
class RegionDetection(DetectorTask):
    """Train a Faster R-CNN or Mask R-CNN, as torchvision does.

    ``batch["boxes"]`` [batch, most, 4] are the objects' boxes in pixels, ``batch["box_labels"]``
    [batch, most] their classes, -1 for padding. ``batch["size"]`` [batch, 2] is the height and the
    width of each image on its canvas, where they differ from the canvas's. Boxes without area are
    left out. With masks, ``batch["instances"]`` [batch, height, width] has the number of the object
    at each pixel, counted from 1 in the order of the boxes, and 0 elsewhere.

    The loss is the sum of four losses, or five, each a mean over what was sampled in the batch: of
    the anchors, whether there is an object, and its box; of the proposals, the class and the box;
    and of the proposals that have an object, its mask. The sampling takes the key of the step. In
    evaluation there are samples too, always the same. These losses are metrics beside those of
    `Detection`. With masks there are average precision and recall of both, those of the masks as
    `mask_AP` and so on, and `mask_AP` is the metric that decides.

    Attributes:
        model: linen module like `models.RCNN`.
        background: whether class 0 of the data set is the background. Otherwise its classes are
            larger by one in the model, whose class 0 is the background.
        anchors: samples of an image's anchors, half of them with an object at most.
        regions: samples of an image's proposals, a quarter of them with an object at most.
        score_threshold, iou_threshold, most: of the detections, see `detections_of_regions`.
        class_names: classes with a metric `AP/<class>`, in the order of the data set's labels.

    Raises:
        ConfigError: in `check`, for a data set that does not fit.
    """

    background: bool = True
    anchors: int = 256
    regions: int = 512
    score_threshold: float = 0.05
    iou_threshold: float = 0.5
    most: int = 100

    @property
    def masks(self) -> bool:
        """Whether the model has masks."""
        return bool(getattr(self.model, "masks", False))

    @property
    def parts(self) -> tuple[str, ...]:
        """Names of the losses that are added up."""
        return (*PARTS, "mask_loss") if self.masks else PARTS

    @property
    def losses(self) -> tuple[str, ...]:
        """Names of the metrics that are losses."""
        return ("loss", *self.parts)

    @property
    def metrics(self) -> tuple[str, ...]:
        """Names of the metrics."""
        names = super().metrics
        scores = [name for name in names if name not in self.losses] if self.masks else []
        return (*names, *(f"mask_{name}" for name in scores))

    @property
    def best_metric(self) -> str:
        """The metric that decides which weights are the best."""
        return "mask_AP" if self.masks else "AP"

    def check(self, dataset: Any) -> None:
        """Raise ConfigError without boxes or, for masks, instances, or with too many classes."""
        check_boxes(dataset)
        if self.masks and "instances" not in dataset.spec:
            raise ConfigError(
                f"masks need the entry 'instances', which {dataset.title} does not have; create "
                "the model with masks=False"
            )
        check_with_background(self.model, dataset, self.background)

    def loss_fn(
        self,
        params: PyTree,
        model_state: PyTree,
        batch: dict[str, Array],
        key: Key[Array, ""],
        train: bool,
    ) -> tuple[Array, tuple[PyTree, dict[str, Array]]]:
        """Weighted sum of the loss, the new model state, and sums for the metrics."""
        state = dict(model_state)

        def apply(method: str, *inputs: Any, **options: Any) -> Any:
            """An output of the model, whose new state the next call sees."""
            variables = {"params": params, **state}
            options |= {"train": train, "method": method}
            if not train:
                return self.model.apply(variables, *inputs, **options)
            output, changed = self.model.apply(variables, *inputs, **options, mutable=[*state])
            state.update(changed)
            return output

        outputs = apply("propose", batch["image"], image_sizes(batch))
        boxes = batch["boxes"].astype(outputs["anchors"].dtype)
        labels = with_background(batch["box_labels"], self.background)
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
        found = apply("classify", levels, regions["boxes"], mask=regions["label"] >= 0)
        more = jax.vmap(region_losses)(found["class_logits"], found["box_deltas"], regions, boxes)
        losses, counts = losses | more[0], counts | more[1]
        if self.masks:

            def of_first(number: int) -> Any:
                # Positives come first.
                first = jax.tree.map(lambda a: a[:, :number], regions)
                logits = apply("segment", levels, first["boxes"], mask=first["label"] > 0)
                return jax.vmap(mask_losses)(logits, first, batch["instances"])

            positives = jnp.max(jnp.sum(regions["label"] > 0, axis=1))
            numbers = self._mask_regions(state)
            more = lax.switch(
                jnp.searchsorted(jnp.asarray(numbers), positives),
                [partial(of_first, number) for number in numbers],
            )
            losses, counts = losses | more[0], counts | more[1]
        sums = sums_of_means(batch["weight"], losses, counts)
        loss = jnp.stack([sums[name] for name in self.parts]).sum()
        return loss, (state, sums)

    def _mask_regions(self, model_state: PyTree) -> list[int]:
        """The numbers of regions that a step can compute the masks of: the least that it needs."""
        most = self.regions // 4
        if "mask" in model_state.get("batch_stats", {}):
            # BatchNorm sums over devices, all of which must compute the same.
            return [most]
        return sorted({max(1, most // 4), max(1, most // 2), most})

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
        return found | {"box_labels": without_background(labels, self.background)}

    def rows(
        self, params: PyTree, model_state: PyTree, batch: dict[str, Array]
    ) -> dict[str, dict[str, Array]]:
        """The detections and the objects of every image, for `measure`."""
        rows = super().rows(params, model_state, batch)
        if self.masks:
            rows["truths"]["instances"] = batch["instances"]
        return rows

    def measure(self, rows: dict[str, dict[str, np.ndarray]]) -> dict[str, float]:
        """Average precision and recall of a whole split, of the boxes and of the masks."""
        found, truths = rows["found"], rows["truths"]
        of_boxes = {name: array for name, array in found.items() if name != "masks"}
        scores = super().measure({"found": of_boxes, "truths": truths})
        if self.masks:
            images = scored_images(found, truths)
            of_masks = coco_scores(images, of="masks", class_names=self.class_names)
            scores |= {f"mask_{name}": of_masks[name] for name in list(scores)}
        return scores
