"""From a name to a Dataset: the one door through which experiments get their data."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from difflib import get_close_matches
from pathlib import Path
from typing import Literal

import numpy as np

from cnn_jax.data.archives import OFFICIAL
from cnn_jax.data.array_file import SUFFIX, open_array_file
from cnn_jax.data.arrays import decode_all
from cnn_jax.data.augment import Augment, RandomResizedCrop, suited_to
from cnn_jax.data.dataset import (
    ArraySplit,
    DataError,
    Dataset,
    EncodedExamples,
    Split,
    Stored,
    StreamSplit,
    channel_statistics,
)
from cnn_jax.data.embedded import open_digits
from cnn_jax.data.folders import is_folder_name, open_folder
from cnn_jax.data.names import TITLES
from cnn_jax.data.prepare import prepare, within_reach
from cnn_jax.data.splits import choose_splits, parse_split
from cnn_jax.data.tfds_reader import find_prepared, open_tfds, prepared_names, tfds_directory

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)
DEVICE_BYTES = 1 << 30
"""Data sets that need less than this as uint8 live on the device, larger ones are streamed."""


@dataclass(frozen=True)
class DataConfig:
    """Which data set, where it lies, and how it is split."""

    name: str = "auto"
    """A TFDS data set, "digits", a folder of <class>/*.jpg, or an .npz; "auto": the lecture's."""
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
    resize: int = 0
    """Resize the shorter side to this, more than image_size, before the square is cut out."""
    skip_unreadable: bool = False
    """Leave out, and name, files of a folder that cannot be read; all are tried at the start."""
    workers: int = 0
    """Processes that decode a stream; 0 decodes in the training process."""


def load_dataset(config: DataConfig, *, default: str, augment: Sequence[Augment] = ()) -> Dataset:
    """Loads the data set that `config` names.

    `default` is the lecture's data set, which "auto" takes if it is prepared or can be
    downloaded; otherwise scikit-learn's digits stand in for it. `augment` is what the experiment
    offers: augmentations that make no sense for the images are left away, with a note. A random
    resized crop that comes first is taken of the whole images where they are streamed, else of
    the squares. Raises DataError for whatever the user can mend.
    """
    if config.resize and not 0 < config.image_size <= config.resize:
        raise DataError(
            f"--data.resize {config.resize} is the shorter side that a square of"
            f" --data.image-size {config.image_size} is cut out of: it cannot be smaller, and needs"
            " an image size"
        )
    stored, stand_in = _open(config, default)
    sizes = {split: len(examples) for split, examples in stored.splits.items()}
    expressions, split_notes = choose_splits(
        sizes,
        train=config.train,
        validation=config.validation,
        test=config.test,
        defaults=stored.defaults,
    )
    streamed = config.storage == "stream" or (
        config.storage == "auto"
        and sum(sizes.values()) * int(np.prod(stored.image_shape)) >= DEVICE_BYTES
    )
    select = _stream if streamed else _decode
    splits = {role: select(stored, expression) for role, expression in expressions.items()}

    train = splits["train"]
    if isinstance(train, ArraySplit):
        mean, std = channel_statistics(train.images)
    else:
        mean, std = IMAGENET_MEAN, IMAGENET_STD
        if stored.image_shape[2] != 3:
            mean, std = (0.5,) * stored.image_shape[2], (0.25,) * stored.image_shape[2]
    kept, augment_notes = suited_to(augment, stored.name, stored.image_shape)
    if isinstance(train, StreamSplit) and isinstance(train.examples, EncodedExamples):
        match kept:
            case RandomResizedCrop() as crop, *rest:
                crop = replace(crop, size=stored.image_shape[:2])
                splits["train"], kept = replace(train, random_crop=crop), tuple(rest)
    return Dataset(
        name=stored.name,
        title=stored.title,
        splits=splits,
        class_names=stored.class_names,
        image_shape=stored.image_shape,
        mean=mean,
        std=std,
        augment=kept,
        stand_in=stand_in,
        notes=(*stored.notes, *split_notes, *augment_notes),
    )


def _open(config: DataConfig, default: str) -> tuple[Stored, bool]:
    """The data set that is asked for, and whether it stands in for the lecture's."""
    if config.name != "auto":
        return _open_named(config.name, config), False
    directory = tfds_directory(config.dir)
    why = f"neither prepared under {directory} nor within reach of the network"
    if default == "digits" or find_prepared(default, directory):
        return _open_named(default, config), False
    if within_reach(default, directory):
        try:
            return _open_named(default, config), False
        except DataError as error:
            why = f"not to be had ({error})"
    wanted = TITLES.get(default, default)
    digits = open_digits(config.image_size)
    note = (
        f"{wanted} is {why}: training on scikit-learn's {digits.title} in its place. For the real"
        f" one set TFDS_DATA_DIR (or --data.dir) to a directory that holds {default}, or connect"
        " to a network."
    )
    title = f"{digits.title} (stand-in for {wanted})"
    return replace(digits, title=title, notes=(note,)), True


def _open_named(name: str, config: DataConfig) -> Stored:
    if name == "digits":
        return open_digits(config.image_size)
    if name.endswith(SUFFIX):
        if config.image_size:
            raise DataError(
                f"the images of {name} are not resized: leave --data.image-size out, or resize"
                " them before they are saved"
            )
        return open_array_file(name)
    if is_folder_name(name):
        return open_folder(
            name, config.image_size, config.resize, skip_unreadable=config.skip_unreadable
        )
    directory = tfds_directory(config.dir)
    path = find_prepared(name, directory)
    if path is None:
        if name not in OFFICIAL:
            raise DataError(_unknown(name, directory))
        path = prepare(name, directory)
    return open_tfds(name, path, config.image_size, config.resize)


def _unknown(name: str, directory: Path) -> str:
    there = prepared_names(directory)
    configurations = [one for one in there if one.startswith(f"{name}/")]
    if configurations:
        return f"the data set {name} comes as {', '.join(configurations)}: choose one of them"
    known = sorted({*there, *OFFICIAL, "digits", "auto"})
    close = get_close_matches(name.lower().replace("-", "_"), known, n=3)
    return (
        f"there is no data set {name!r} under {directory}"
        + (f"; did you mean {' or '.join(close)}?" if close else ".")
        + f" Prepared there: {', '.join(there) or 'nothing'}. Downloaded when asked for:"
        f" {', '.join(OFFICIAL)}. Other data sets of TFDS are read once they are prepared:"
        " set TFDS_DATA_DIR or --data.dir to where they lie. A folder of images is named by its"
        f" path, such as ./{name}."
    )


def _decode(stored: Stored, expression: str) -> Split:
    sizes = {split: len(examples) for split, examples in stored.splits.items()}
    try:
        parts = [
            decode_all(stored.splits[split], np.arange(first, last), stored.image_shape)
            for split, first, last in parse_split(expression, sizes)
        ]
    except DataError as error:
        if not is_folder_name(stored.name):
            raise
        hint = "mend or remove them; --data.skip-unreadable leaves out what cannot be read"
        raise DataError(f"{error}\n{hint}") from None
    if len(parts) == 1:
        return parts[0]
    return ArraySplit(
        np.concatenate([part.images for part in parts]),
        np.concatenate([part.labels for part in parts]),
    )


def _stream(stored: Stored, expression: str) -> Split:
    sizes = {split: len(examples) for split, examples in stored.splits.items()}
    ranges = parse_split(expression, sizes)
    splits = {split for split, *_ in ranges}
    if len(splits) > 1:
        raise DataError(
            f"{expression!r} joins several splits, which a stream cannot: --data.storage device"
        )
    indices = np.concatenate([np.arange(first, last) for _, first, last in ranges])
    return StreamSplit(stored.splits[splits.pop()], indices)
