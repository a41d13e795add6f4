"""Makes a stored data set ready for training: splits, decoding or streaming, statistics."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Literal

import numpy as np
from jaxtyping import Int

from cnn_jax.data.arrays import decode_all
from cnn_jax.data.augment import Augment, RandomResizedCrop, suited_to
from cnn_jax.data.dataset import Dataset, Stored, channel_statistics
from cnn_jax.data.errors import SKIP_HINT, DataError, UnreadableImage
from cnn_jax.data.examples import EncodedExamples, Examples, LabelledExamples, Spec
from cnn_jax.data.roles import Parts, choose_splits, holds_out
from cnn_jax.data.splits import ArraySplit, Split, StreamSplit
from cnn_jax.data.unreadable import without_unreadable
from cnn_jax.imagenet import readable_classes

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)
AugmentOf = Callable[[tuple[int, int, int]], Sequence[Augment]]
"""Augmentations for images of a height, width and number of channels."""
DEVICE_BYTES = 1 << 30
"""Decoded data sets of at least this size are streamed, smaller ones live on the device."""


def prepare(
    stored: Stored,
    *,
    train: str = "",
    validation: str = "",
    test: str = "",
    storage: Literal["auto", "device", "stream"] = "auto",
    workers: int = 0,
    skip_unreadable: bool = False,
    augment: Sequence[Augment] | AugmentOf = (),
    only: Sequence[str] = (),
) -> Dataset:
    """The data set that the fields of `DataConfig` and the arguments of `load_dataset` describe.

    Raises:
        DataError: splits cannot be chosen, or examples cannot be read.
    """
    streamed = storage == "stream" or (
        storage == "auto"
        and bool(stored.splits)
        and sum(stored.sizes.values()) * _size(stored.spec) >= DEVICE_BYTES
    )
    if skip_unreadable and not streamed:
        stored = without_unreadable(stored)
    if workers and not streamed:
        raise DataError(
            f"--data.workers {workers} are for a stream, and {stored.title} is decoded once, at the"
            " start: leave them out, or set --data.storage stream"
        )
    labels = None
    if tuple(only) != ("test",) and holds_out(
        stored.sizes, validation, stored.defaults, stored.unusable
    ):
        if not streamed:  # Decoded once, because the labels of some readers are not known before.
            whole = _decoded(stored.splits["train"], np.arange(stored.sizes["train"]))
            stored = replace(stored, splits={**stored.splits, "train": whole})
        labels = _labels(stored)
    roles, split_notes = choose_splits(
        stored.sizes,
        train=train,
        validation=validation,
        test=test,
        defaults=stored.defaults,
        unusable=stored.unusable,
        labels=labels,
        only=only,
    )
    splits: dict[str, Split] = {
        role: _stream(stored, parts, workers=workers, skip_unreadable=skip_unreadable)
        if streamed
        else _decode(stored, parts)
        for role, parts in roles.items()
    }

    height, width, channels = stored.spec["image"].shape
    chosen = augment((height, width, channels)) if callable(augment) else augment
    kept, augment_notes = suited_to(chosen, stored.name, (height, width, channels))
    match splits.get("train"), kept:
        case StreamSplit(EncodedExamples()) as stream, (RandomResizedCrop() as crop, *rest):
            crop = replace(crop, size=(height, width))
            splits["train"], kept = replace(stream, random_crop=crop), tuple(rest)
    mean, std = _statistics(splits.get("train"), channels)
    return Dataset(
        name=stored.name,
        title=stored.title,
        splits=splits,
        class_names=readable_classes(stored.class_names),
        mean=mean,
        std=std,
        augment=kept,
        notes=(*stored.notes, *split_notes, *augment_notes),
    )


def _size(spec: Spec) -> int:
    """Bytes of one decoded example."""
    return sum(entry.size * entry.dtype.itemsize for entry in spec.values())


def _labels(stored: Stored) -> Int[np.ndarray, "examples"] | None:
    """The classes of the stored split "train", if its examples have one class each."""
    match stored.splits["train"]:
        case ArraySplit(arrays):
            label = arrays.get("label")
            is_class = label is not None and label.ndim == 1 and label.dtype.kind in "iu"
            return label if is_class else None
        case LabelledExamples() as examples:
            return examples.class_of_each()
    return None


def _decode(stored: Stored, parts: Parts) -> ArraySplit:
    decoded = [_decoded(stored.splits[split], places) for split, places in parts]
    if len(decoded) == 1:
        return decoded[0]
    return ArraySplit(
        {name: np.concatenate([one.arrays[name] for one in decoded]) for name in decoded[0].arrays}
    )


def _decoded(examples: Examples, places: Int[np.ndarray, "chosen"]) -> ArraySplit:
    if isinstance(examples, ArraySplit):
        return examples.rows(places)
    try:
        return decode_all(examples, places)
    except UnreadableImage as error:
        raise UnreadableImage(f"{error}\n{SKIP_HINT}") from None


def _stream(stored: Stored, parts: Parts, *, workers: int, skip_unreadable: bool) -> StreamSplit:
    splits = {split for split, _ in parts}
    if len(splits) > 1:
        raise DataError(
            f"the splits {' and '.join(sorted(splits))} are joined, which is not supported for a"
            " stream: use --data.storage device, or one split"
        )
    places = np.concatenate([places for _, places in parts])
    examples = stored.splits[splits.pop()]
    return StreamSplit(examples, places, workers=workers, skip_unreadable=skip_unreadable)


def _statistics(train: Split | None, channels: int) -> tuple[tuple[float, ...], tuple[float, ...]]:
    if train is None:
        return (), ()
    if isinstance(train, ArraySplit):
        return channel_statistics(train.arrays["image"])
    if channels == 3:
        return IMAGENET_MEAN, IMAGENET_STD
    return (0.5,) * channels, (0.25,) * channels
