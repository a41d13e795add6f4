"""What a network that gives boxes finds in images, whatever its task."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, fields, replace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Bool, Float, Int, UInt8

from cnn_jax.pretrained import Network
from cnn_jax.tasks import Localization, paste_masks

INSIDE = 0.5
"""The pixels of an object have a larger probability."""

Image = UInt8[np.ndarray, "height width 3"]
Size = tuple[int, int]
Scale = tuple[float, float]
Arrays = Mapping[str, np.ndarray]
_paste = jax.jit(paste_masks, static_argnums=2)


def make_detector(
    network: Network, *, threshold: float | None = None
) -> Callable[[Mapping[str, Any]], Arrays]:
    """A function that gives the detections of a batch with `image`, normalized, and `size`.

    They are `boxes` [batch, most, 4] in pixels, `scores` and `box_labels` [batch, most], -1 for
    padding, and with masks the probabilities of the pixels within each box, `masks` [batch, most,
    rows, columns].

    Args:
        network: from `as_detector`.
        threshold: the least score of a detection; None is that of the network's task.
    """
    task: Any = network.task
    if threshold is not None and "score_threshold" in {one.name for one in fields(task)}:
        task = replace(task, score_threshold=threshold)
    # Transferred once, not with every batch.
    variables: Any = jax.device_put(network.variables)

    @jax.jit
    def predict(variables: dict[str, Any], batch: dict[str, Any]) -> dict[str, Any]:
        model_state = {name: one for name, one in variables.items() if name != "params"}
        found = task.predict(variables["params"], model_state, batch)
        if not isinstance(task, Localization):
            return found
        label = jnp.where(found["score"] > (threshold or 0.0), found["label"], -1)
        one = {"boxes": found["box"], "scores": found["score"], "box_labels": label}
        return {name: values[:, None] for name, values in one.items()}

    def detect(batch: Mapping[str, Any]) -> Arrays:
        arrays = {name: np.asarray(batch[name]) for name in ("image", "size") if name in batch}
        return jax.tree.map(np.asarray, predict(variables, arrays))

    return detect


@dataclass(frozen=True)
class Found:
    """The objects in an image, the surest first.

    Attributes:
        boxes: (x0, y0, x1, y1) in pixels of the image.
        labels: the class of each.
        scores: in [0, 1].
        parts: probabilities of the pixels within each box; None without masks.
    """

    boxes: Float[np.ndarray, "n 4"]
    labels: Int[np.ndarray, " n"]
    scores: Float[np.ndarray, " n"]
    parts: Float[np.ndarray, "n rows columns"] | None = None

    def masks(self, size: Size, scale: Scale = (1.0, 1.0)) -> Iterator[Bool[np.ndarray, "y x"]]:
        """The mask of each object, one after another, in an image of a size whose sides are scaled.

        Args:
            size: height and width of the masks.
            scale: by which width and height of the image are to be multiplied.
        """
        boxes = (self.boxes * np.tile(scale, 2)).astype(np.float32)
        for part, box in zip(() if self.parts is None else self.parts, boxes, strict=False):
            yield np.asarray(_paste(part[None], box[None], size)[0]) > INSIDE


def make_detect(network: Network, threshold: float) -> Callable[[Image], Found]:
    """A function that gives the objects in an image of any size, with boxes in its pixels.

    Args:
        network: from `as_detector`.
        threshold: the least score.
    """
    detect = make_detector(network, threshold=threshold)

    def of_image(image: Image) -> Found:
        inputs, size = network.preprocessing.place(image)
        arrays = detect({"image": inputs[None], "size": np.array([size], np.int32)})
        found = {name: values[0] for name, values in arrays.items()}
        back = np.tile(np.array(image.shape[1::-1]) / size[::-1], 2)
        limits = np.tile(image.shape[1::-1], 2)
        boxes = np.clip(found["boxes"].astype(np.float64) * back, 0, limits)
        within = (boxes[:, :2] < boxes[:, 2:]).all(axis=1)
        kept = within & (found["box_labels"] >= 0) & (found["scores"] >= threshold)
        parts = found["masks"][kept] if "masks" in found else None
        return Found(boxes[kept], found["box_labels"][kept], found["scores"][kept], parts)

    return of_image
