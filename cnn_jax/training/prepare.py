"""What turns a raw batch into the model's input, inside the compiled step."""

from typing import Any

import jax
import jax.numpy as jnp
from jax import lax

from cnn_jax.data import Dataset, Mix, apply_augment, normalize
from cnn_jax.training.step import Batch, Prepare


def make_prepare(dataset: Dataset, axis_name: str | None = None) -> Prepare:
    """What turns a raw batch into the model's input, inside the compiled step.

    Images (uint8) are scaled to [0, 1], augmented, mixed and normalized; float inputs are taken
    as they are. Each example's augmentation has a key of its own, made of the step's key and
    its place in the global batch, and pairs to mix are of the global batch: the same on any
    number of devices.
    """

    def prepare(batch: Batch, key: Any, train: bool) -> Batch:
        if batch["image"].dtype != jnp.uint8:
            return batch
        images = batch["image"].astype(jnp.float32) / 255.0
        if train and dataset.augment:
            keys = jax.vmap(jax.random.fold_in, in_axes=(None, 0))(key, batch["index"])
            images = apply_augment(dataset.augment, keys, images)
        if train and dataset.mix is not None:
            labels = jax.nn.one_hot(batch["label"], dataset.num_classes)
            images, labels = _mixed(dataset.mix, key, images, labels, axis_name)
            batch = batch | {"label": labels}
        return batch | {"image": normalize(images, dataset.mean, dataset.std)}

    return prepare


def _mixed(mix: Mix, key: Any, images: Any, labels: Any, axis_name: str | None) -> Any:
    """The batch with its pairs mixed; a mapped axis is gathered first, as they may lie anywhere."""
    parts = images, labels
    if axis_name:
        parts = lax.all_gather(parts, axis_name, tiled=True)
    # The number after that of the last example, whose keys are taken.
    mixed = mix(jax.random.fold_in(key, len(parts[0])), *parts)
    if not axis_name:
        return mixed
    start, size = lax.axis_index(axis_name) * len(images), len(images)
    return jax.tree.map(lambda a: lax.dynamic_slice_in_dim(a, start, size), mixed)
