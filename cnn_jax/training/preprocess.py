"""Turns a raw batch into the model's input, inside the compiled step."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jaxtyping import Array, Key

from cnn_jax.data import Dataset, augment_examples, normalize
from cnn_jax.data.augment import IMAGE_ONLY, PLACED, UNPLACED
from cnn_jax.errors import ConfigError
from cnn_jax.training.mapped import gather_over_devices, part_of_device
from cnn_jax.training.program import Batch

Preprocess = Callable[[Batch, Key[Array, ""], bool], Batch]


def make_preprocess(dataset: Dataset) -> Preprocess:
    """Builds ``preprocess(batch, key, train) -> batch``.

    A uint8 ``image`` is scaled to [0, 1], augmented, mixed and normalized; other batches are
    returned unchanged. Augmentation moves every entry that has a place in the image. Its key is
    derived from the step's key and the example's slot in the global batch, and mixing pairs the
    examples of the global batch, so the result does not depend on the number of devices.

    Raises:
        ConfigError: the augmentation or the mixing would leave an entry of the data set behind.
    """
    _check_nothing_left_behind(dataset)

    def preprocess(batch: Batch, key: Key[Array, ""], train: bool) -> Batch:
        if "image" not in batch or batch["image"].dtype != jnp.uint8:
            return batch
        batch = batch | {"image": batch["image"].astype(jnp.float32) / 255.0}
        if train and dataset.augment:
            keys = jax.vmap(jax.random.fold_in, in_axes=(None, 0))(key, batch["slot"])
            placed = {name: values for name, values in batch.items() if name in PLACED}
            batch = batch | augment_examples(dataset.augment, keys, placed)
        if train and dataset.mix is not None:
            labels = jax.nn.one_hot(batch["label"], dataset.num_classes)
            # Pairs are of the global batch. The keys of examples are derived from smaller numbers.
            parts = gather_over_devices((batch["image"], labels))
            mixed = dataset.mix(jax.random.fold_in(key, len(parts[0])), *parts)
            images, labels = part_of_device(mixed)
            batch = batch | {"image": images, "label": labels}
        return batch | {"image": normalize(batch["image"], dataset.mean, dataset.std)}

    return preprocess


def _check_nothing_left_behind(dataset: Dataset) -> None:
    moving = [one for one in dataset.augment if not isinstance(one, IMAGE_ONLY)]
    left = sorted(dataset.spec.keys() - PLACED - UNPLACED)
    if moving and left:
        raise ConfigError(
            f"{', '.join(map(repr, moving))} would move the image of {dataset.name} without its"
            f" {', '.join(left)}: remove the augmentation, or rename an entry that it can move"
            f" ({', '.join(sorted(PLACED))}) or that has no place in the image"
            f" ({', '.join(sorted(UNPLACED))})"
        )
    unmixed = sorted(dataset.spec.keys() - {"image"} - UNPLACED)
    if dataset.mix is not None and unmixed:
        raise ConfigError(
            f"{dataset.mix!r} mixes image and label of {dataset.name}, but not its"
            f" {', '.join(unmixed)}: remove the mixing, or these entries"
        )
