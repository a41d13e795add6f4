"""What a network that gives boxes finds in images, whatever its task."""

from collections.abc import Callable, Mapping
from dataclasses import fields, replace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from cnn_jax.pretrained import Network
from cnn_jax.tasks import Localization

Found = Mapping[str, np.ndarray]
"""Of a batch: `boxes` [batch, most, 4] in pixels, `scores` and `box_labels` [batch, most], -1 for
padding."""


def make_detector(
    network: Network, *, threshold: float | None = None
) -> Callable[[Mapping[str, Any]], Found]:
    """A function that gives the detections of a batch with `image`, normalized, and `size`.

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

    def detect(batch: Mapping[str, Any]) -> Found:
        arrays = {name: np.asarray(batch[name]) for name in ("image", "size") if name in batch}
        return jax.tree.map(np.asarray, predict(variables, arrays))

    return detect
