"""From a name to a Dataset: the one door through which experiments get their data."""

from collections.abc import Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import Literal

import numpy as np

from cnn_jax.data import embedded
from cnn_jax.data.arrays import decode_all
from cnn_jax.data.augment import Augment, suited_to
from cnn_jax.data.dataset import (
    ArraySplit,
    DataError,
    Dataset,
    Split,
    channel_statistics,
)
from cnn_jax.data.splits import choose_splits, parse_split
from cnn_jax.data.tfds_reader import find_prepared, open_prepared, prepared_names, tfds_directory

TITLES = {
    "cifar10": "CIFAR-10",
    "cifar100": "CIFAR-100",
    "mnist": "MNIST",
    "fashion_mnist": "Fashion-MNIST",
    "digits": "handwritten digits 8x8",
}
IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)
DEVICE_BYTES = 1 << 30
"""Splits that need less than this as uint8 live on the device, larger ones are streamed."""


@dataclass(frozen=True)
class DataConfig:
    """Which data set, where it lies, and how it is split."""

    name: str = "auto"
    """A TFDS data set, "digits", or a path with train/<class>/*.jpg; "auto": the lecture's."""
    dir: str = ""
    """Directory of TFDS data sets; by default $TFDS_DATA_DIR, then ~/tensorflow_datasets."""
    train: str = ""
    """Training examples such as "train[:90%]"; by default train without validation."""
    validation: str = ""
    """Validation examples, or "none"; by default the data set's own, else a tenth of train."""
    test: str = ""
    """Test examples, or "none"; by default the data set's own."""
    storage: Literal["auto", "device", "stream"] = "auto"
    """Decoded once onto the device, or streamed; "auto": streamed from 1 GiB."""
    image_size: int = 0
    """Resize the shorter side to this and keep the centre square; 0 leaves images as they are."""
    workers: int = 0
    """Processes that decode a stream; 0 decodes in the training process."""


def load_dataset(config: DataConfig, *, default: str, augment: Sequence[Augment] = ()) -> Dataset:
    """Loads the data set that `config` names.

    `default` is the lecture's data set, which "auto" takes if it can. `augment` is what the
    experiment offers: augmentations that make no sense for the images are left away (with a
    note). Raises DataError for whatever the user can mend.
    """
    name = config.name
    if name == "auto":
        return _load_auto(config, default, augment)
    if name == "digits":
        return _load_digits(config, augment)
    return _load_tfds(name, config, augment)


def _load_auto(config: DataConfig, default: str, augment: Sequence[Augment]) -> Dataset:
    if default == "digits" or find_prepared(default, tfds_directory(config.dir)):
        return (
            _load_digits(config, augment)
            if default == "digits"
            else _load_tfds(default, config, augment)
        )
    return _load_digits(config, augment, stand_in_for=default)


def _load_digits(config: DataConfig, augment: Sequence[Augment], stand_in_for: str = "") -> Dataset:
    stored = embedded.load_digits()
    chosen, notes = choose_splits(
        {split: len(arrays) for split, arrays in stored.items()},
        train=config.train,
        validation=config.validation,
        test=config.test,
    )
    sizes = {split: len(arrays) for split, arrays in stored.items()}
    splits: dict[str, Split] = {}
    for role, expression in chosen.items():
        ranges = parse_split(expression, sizes)
        splits[role] = ArraySplit(
            np.concatenate([stored[split].images[first:last] for split, first, last in ranges]),
            np.concatenate([stored[split].labels[first:last] for split, first, last in ranges]),
        )
    title = TITLES["digits"]
    if stand_in_for:
        wanted = TITLES.get(stand_in_for, stand_in_for)
        title = f"{title} (stand-in for {wanted})"
        notes = (
            f"{wanted} is neither prepared nor within reach: training on scikit-learn's"
            f" {TITLES['digits']} in its place. For the real one set TFDS_DATA_DIR (or --data.dir)"
            f" to a directory that holds {stand_in_for}, or connect to a network.",
            *notes,
        )
    return _finish(
        "digits", title, splits, embedded.CLASS_NAMES, augment, notes, bool(stand_in_for)
    )


def _load_tfds(name: str, config: DataConfig, augment: Sequence[Augment]) -> Dataset:
    directory = tfds_directory(config.dir)
    path = find_prepared(name, directory)
    if path is None:
        raise DataError(unknown_data_set(name, directory))
    prepared = open_prepared(name.partition(":")[0], path)
    title = TITLES.get(prepared.name, prepared.name)
    validation, test = config.validation, config.test
    notes: tuple[str, ...] = ()
    if prepared.name == "cifar10" and prepared.sizes == {"train": 45_000, "test": 5_000}:
        # He et al. 2015, section 4.2: 45k of the official training images train, 5k validate.
        title = "CIFAR-10 (45k/5k validation)"
        validation, test = validation or "test", test or "none"
        notes = (
            "this copy of CIFAR-10 holds the 50,000 official training images only: its 'test' is"
            " the 45k/5k validation set, and there is no test split",
        )
    chosen, split_notes = choose_splits(
        prepared.sizes, train=config.train, validation=validation, test=test
    )

    image_size = config.image_size
    height, width, channels = prepared.image_shape
    if image_size == 0 and (height is None or width is None):
        raise DataError(f"the images of {name} differ in size: choose one with --data.image-size")
    if (height, width) == (image_size, image_size):
        image_size = 0

    splits: dict[str, Split] = {}
    for role, expression in chosen.items():
        parts = []
        for split, first, last in parse_split(expression, prepared.sizes):
            examples = prepared.examples(split, image_size)
            parts.append(
                decode_all(
                    f"{name} {split}", examples, np.arange(first, last), prepared.class_names
                )
            )
        splits[role] = ArraySplit(
            np.concatenate([part.images for part in parts]),
            np.concatenate([part.labels for part in parts]),
        )
    return _finish(
        prepared.name, title, splits, prepared.class_names, augment, (*notes, *split_notes)
    )


def _finish(
    name: str,
    title: str,
    splits: dict[str, Split],
    class_names: tuple[str, ...],
    augment: Sequence[Augment],
    notes: tuple[str, ...],
    stand_in: bool = False,
) -> Dataset:
    train = splits["train"]
    if isinstance(train, ArraySplit):
        image_shape = train.images.shape[1:]
        mean, std = channel_statistics(train.images)
    else:
        image_shape = train[0][0].shape
        mean, std = IMAGENET_MEAN[: image_shape[2]], IMAGENET_STD[: image_shape[2]]
    kept, augment_notes = suited_to(augment, name, image_shape)
    return Dataset(
        name=name,
        title=title,
        splits=splits,
        class_names=class_names,
        image_shape=image_shape,
        mean=mean,
        std=std,
        augment=kept,
        stand_in=stand_in,
        notes=(*notes, *augment_notes),
    )


def unknown_data_set(name: str, directory: Path) -> str:
    """The message for a data set that is not there, with names that are near it."""
    there = prepared_names(directory)
    known = sorted({*there, *TITLES})
    close = get_close_matches(name, known, n=3)
    message = f"there is no data set {name!r} under {directory}"
    if close and name not in close:
        message += f"; did you mean {' or '.join(repr(one) for one in close)}?"
    message += f" Prepared there: {', '.join(there) or 'nothing'}."
    return (
        message + " Set TFDS_DATA_DIR or --data.dir to another directory, or --data.name to a"
        " path with train/<class>/*.jpg."
    )
