"""Temporary: replaced by the data branch."""
from typing import Any
import jax
import jax.numpy as jnp
from cnn_jax.data import apply_augment, normalize
from cnn_jax.training.mapped import gather_over_devices, part_of_device
def make_preprocess(dataset):
    def preprocess(batch: Any, key: Any, train: bool):
        if "image" not in batch or batch["image"].dtype != jnp.uint8:
            return batch
        images = batch["image"].astype(jnp.float32) / 255.0
        if train and dataset.augment:
            keys = jax.vmap(jax.random.fold_in, in_axes=(None, 0))(key, batch["slot"])
            images = apply_augment(dataset.augment, keys, images)
        if train and dataset.mix is not None:
            labels = jax.nn.one_hot(batch["label"], dataset.num_classes)
            parts = gather_over_devices((images, labels))
            images, labels = part_of_device(dataset.mix(jax.random.fold_in(key, len(parts[0])), *parts))
            batch = batch | {"label": labels}
        return batch | {"image": normalize(images, dataset.mean, dataset.std)}
    return preprocess
