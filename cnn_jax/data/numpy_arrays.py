"""Makes a data set of NumPy arrays."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from cnn_jax.data.augment import IGNORED, Augment
from cnn_jax.data.dataset import Dataset, Stored
from cnn_jax.data.errors import DataError
from cnn_jax.data.names import MOST_CLASSES, SPLIT_NAMES, way_without
from cnn_jax.data.prepare import prepare
from cnn_jax.data.splits import ArraySplit

NO_CLASS = {"label": None, "mask": IGNORED, "box_labels": -1}
"""Entries that hold classes, and the value that stands for no class."""

Arrays = Sequence[Any] | Mapping[str, Any]
"""Images and labels, or all entries of the examples by name."""


def from_arrays(
    splits: Mapping[str, Arrays],
    *,
    class_names: Sequence[str] = (),
    title: str = "arrays",
    augment: Sequence[Augment] = (),
    validation: str = "",
) -> Dataset:
    """A data set of arrays, ready for training.

        images = np.random.default_rng(0).integers(0, 256, (500, 28, 28), np.uint8)
        labels = images.mean(axis=(1, 2)) > 127.5
        dataset = data.from_arrays(
            {"train": (images, labels.astype(int))}, class_names=("dark", "bright")
        )

    Mean and standard deviation are those of the train split. Without a validation split, a tenth
    of train becomes one: drawn at random, always the same, with the classes of train.

    Args:
        splits: by name: "train", and if available "validation" (or "val", "valid") and "test".
            Each is a pair of images and labels, or a dict of entries such as "image", "label",
            "mask", "boxes" and "box_labels". Images are uint8 [n, height, width, channels], or
            [n, height, width] if they are grey. Labels are integers [n] or [n, 1]. Masks are
            integers [n, height, width], the class of every pixel or 255 for no class.
        class_names: one name per class; by default the labels are numbered.
        title: the name in titles of figures.
        augment: augmentations of the training images, in the order of application.
        validation: "none" for no validation split.

    Raises:
        DataError: arrays of another dtype or shape; splits whose examples differ in shape; masks of
            another size than their images; a label outside of the classes; no train split.
    """
    entries: dict[str, Mapping[str, Any]] = {}
    for name, arrays in splits.items():
        if name not in SPLIT_NAMES:
            raise DataError(f"the split {name!r} is none of {', '.join(SPLIT_NAMES)}")
        if isinstance(arrays, Mapping):
            entries[name] = arrays
        elif len(arrays) == 2:
            entries[name] = {"image": arrays[0], "label": arrays[1]}
        else:
            raise DataError(
                f"{name} has {len(arrays)} arrays, expected images and labels, or a dict"
            )
    stored = store_arrays(entries, class_names, name=title, title=title)
    return prepare(stored, validation=validation, storage="device", augment=augment)


def store_arrays(
    splits: Mapping[str, Mapping[str, Any]],
    class_names: Sequence[str] = (),
    *,
    name: str,
    title: str,
) -> Stored:
    """A stored data set of the entries of each split, all checked as `from_arrays` says.

    A split that does not have the entries of the first one, such as a test split without labels,
    is an error only if it is used.

    Raises:
        DataError: see `from_arrays`.
    """
    checked = {
        split: ArraySplit(
            {entry: _checked(f"{split} {entry}", entry, array) for entry, array in arrays.items()}
        )
        for split, arrays in splits.items()
    }
    names = tuple(map(str, class_names)) or _numbered(checked)
    has_classes = names or any({"label", "mask"} & set(one.arrays) for one in checked.values())
    for split, examples in checked.items():
        if has_classes:
            _check_classes(split, examples, len(names))
        _check_mask_size(split, examples)
    checked = {split: _narrowed(examples, len(names)) for split, examples in checked.items()}
    unusable = {}
    first = next(iter(checked), "")
    for split, examples in checked.items():
        if not len(examples):
            unusable[split] = f"{split} has no examples{way_without(split)}"
        elif examples.spec != checked[first].spec:
            unusable[split] = (
                f"{split} has {_described(examples)}, expected the same entries of one size in all"
                f" splits, and {first} has {_described(checked[first])}{way_without(split)}"
            )
    usable = {split: examples for split, examples in checked.items() if split not in unusable}
    return Stored(name, title, usable, names, unusable=unusable)


def _checked(what: str, entry: str, given: Any) -> np.ndarray:
    array = np.asarray(given)
    if entry == "image":
        return _images(what, array)
    if entry == "label" and array.ndim == 2 and array.shape[1] == 1:
        array = array[:, 0]
    if entry == "label" and (array.dtype.kind not in "iu" or array.ndim != 1):
        raise DataError(
            f"{what} is {array.dtype} of shape {array.shape}, expected integers [examples], one"
            " class for each image"
        )
    if entry == "mask" and array.ndim == 4 and array.shape[3] == 1:
        array = array[..., 0]
    if entry == "mask" and (array.dtype.kind not in "iu" or array.ndim != 3):
        raise DataError(
            f"{what} is {array.dtype} of shape {array.shape}, expected integers [examples, height,"
            " width], the class of every pixel"
        )
    return array


def _images(what: str, images: np.ndarray) -> np.ndarray:
    way = ""
    if images.dtype.kind == "f" and images.size:
        scale = "255 * " if images.max() <= 1 else ""
        way = f": for bytes, take ({scale}images).round().astype(np.uint8)"
    elif images.ndim == 4 and images.shape[1] in (1, 3) and images.shape[3] > 4:
        way = ": the channels come last, so take images.transpose(0, 2, 3, 1)"
    elif 0 in images.shape[1:]:
        way = ": these images have no pixels"
    if images.dtype != np.uint8 or images.ndim not in (3, 4) or way:
        raise DataError(
            f"{what} is {images.dtype} of shape {images.shape}, expected uint8"
            f" [examples, height, width, channels], or [examples, height, width] if grey{way}"
        )
    return images[..., None] if images.ndim == 3 else images


def _numbered(splits: Mapping[str, ArraySplit]) -> tuple[str, ...]:
    """As many numbers as there are classes."""
    entries = [split.arrays["label"] for split in splits.values() if "label" in split.arrays]
    for split in splits.values():
        if "mask" in split.arrays:
            mask = split.arrays["mask"]
            entries.append(mask[mask != IGNORED])
    count = max((int(array.max(initial=0)) + 1 for array in entries if len(array)), default=0)
    if count > MOST_CLASSES:
        raise DataError(
            f"there is a label {count - 1:,}, expected less than {MOST_CLASSES:,}: number the"
            " classes from 0, or give class_names"
        )
    return tuple(map(str, range(count)))


def _check_classes(split: str, examples: ArraySplit, count: int) -> None:
    for entry, no_class in NO_CLASS.items():
        if entry not in examples.arrays:
            continue
        values = examples.arrays[entry]
        wrong = ((values < 0) | (values >= count)) & (values != no_class)
        if wrong.any():
            place = np.argwhere(wrong)[0]
            raise DataError(
                f"{split} {entry}: example {place[0]} has the class {values[tuple(place)]},"
                f" expected 0 to {count - 1}, one of class_names"
                + (f", or {no_class} for none" if no_class is not None else "")
            )


def _check_mask_size(split: str, examples: ArraySplit) -> None:
    image, mask = examples.arrays["image"], examples.arrays.get("mask")
    if mask is not None and mask.shape[1:] != image.shape[1:3]:
        raise DataError(
            f"{split}: the masks have {mask.shape[1]}x{mask.shape[2]} pixels and the images"
            f" {image.shape[1]}x{image.shape[2]} (height x width), expected the same"
        )


def _narrowed(examples: ArraySplit, classes: int) -> ArraySplit:
    """Labels as int32, and masks as bytes unless there are too many classes."""
    # Only after the check, because a label of 2**32 would become 0.
    narrowed = {}
    for name, array in examples.arrays.items():
        if name == "label":
            array = array.astype(np.int32)
        if name == "mask":
            array = array.astype(np.uint8 if classes <= IGNORED else np.int32)
        narrowed[name] = array
    return ArraySplit(narrowed)


def _described(split: ArraySplit) -> str:
    return ", ".join(f"{name} {one.dtype} {one.shape}" for name, one in split.spec.items())
