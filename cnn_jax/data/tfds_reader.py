"""Reads prepared TFDS directories (array_record) with random access and without TensorFlow."""

import json
import os
import re
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

from cnn_jax.data.dataset import Stored
from cnn_jax.data.decode import MODES, MOST_PIXELS, centre_square
from cnn_jax.data.errors import DataError
from cnn_jax.data.names import CLASS_NAMES, MOST_CLASSES, TITLES, UNLABELLED
from cnn_jax.data.objects import ObjectTarget
from cnn_jax.data.stored_objects import store_objects
from cnn_jax.data.tfds_examples import TfdsLabels, TfdsMasks, TfdsRecords, broken
from cnn_jax.data.tfds_objects import find_tfds_objects
from cnn_jax.extras import extra

Target = Literal["label", "mask"] | ObjectTarget
"""What is to be predicted: the class of an image, of every pixel, or what `objects` describes."""

CIFAR10_45K_5K = {"train": 45_000, "test": 5_000}
"""Copies of CIFAR-10 with these splits: He et al. 2015, section 4.2, validates on 5k of train."""
OWN_FEATURES = "tensorflow_datasets.core.features."
_VERSION = re.compile(r"\d+\.\d+\.\d+")


def tfds_directory(directory: str) -> Path:
    """The TFDS directory: `directory`, else $TFDS_DATA_DIR, else ~/tensorflow_datasets."""
    chosen = directory or os.environ.get("TFDS_DATA_DIR", "") or "~/tensorflow_datasets"
    return Path(chosen).expanduser()


def prepared_names(directory: Path) -> list[str]:
    """The names of all prepared data sets under a TFDS directory, configs as "name/config"."""
    found = {
        info.parent.parent.relative_to(directory).as_posix()
        for pattern in ("*/*/dataset_info.json", "*/*/*/dataset_info.json")
        for info in directory.glob(pattern)
        if _VERSION.fullmatch(info.parent.name)
    }
    return sorted(found)


def find_prepared(name: str, directory: Path) -> Path | None:
    """The newest prepared version of "name", "name/config" or "name:1.0.0", or None."""
    name, _, version = name.partition(":")
    versions = [
        info.parent
        for info in (directory / name).glob("*/dataset_info.json")
        if _VERSION.fullmatch(info.parent.name) and version in ("", info.parent.name)
    ]
    if not versions:
        return None
    return max(versions, key=lambda path: tuple(int(part) for part in path.name.split(".")))


def open_tfds(
    name: str,
    path: Path,
    image_size: int = 0,
    resize: int = 0,
    *,
    target: Target = "label",
    most_boxes: int = 0,
    skip_unreadable: bool = False,
) -> Stored:
    """Opens a prepared directory. Image and label are found by the features' types.

    With the target "mask", examples have the class of every pixel instead of a label: an image of
    one channel whose name says so, such as `segmentation_mask`. TFDS does not name their classes,
    so that they are numbered up to the largest that occurs, unless this package knows the data set.

    With `image_size`, images of any size become squares: the shorter side is resized to
    `image_size` (or to `resize`) and the centre is kept. Masks are resized to the nearest pixels.

    Boxes and instances: see `find_tfds_objects` and `store_objects`.

    Raises:
        DataError: the directory is broken, or names features that are not TFDS's own; the data set
            has no images of bytes, or no class label or mask.
    """
    tfds = import_tfds(name)
    try:
        check_files(path)
        check_features(path)
        base = name.partition(":")[0]
        if target == "label" or target == "mask":
            return _open(tfds, base, path, image_size, resize, target)
        found = find_tfds_objects(tfds, base, path, target)
        return store_objects(
            base,
            TITLES.get(base, base),
            found,
            target,
            image_size=image_size,
            most_boxes=most_boxes,
            skip_unreadable=skip_unreadable,
        )
    except DataError:
        raise
    except Exception as error:  # TFDS, protobuf and array_record raise many kinds of exceptions
        raise broken(path, error) from error


def check_files(path: Path) -> None:
    """Raises ValueError if dataset_info.json claims more than the directory's files can hold.

    TFDS and NumPy would take hours or all memory for it. A pipe or a device would never end.
    """
    files = [file for file in path.iterdir() if not file.is_dir()]
    if others := [file.name for file in files if not file.is_file()]:
        raise ValueError(f"{others[0]} is not a regular file")
    size = sum(file.stat().st_size for file in files)
    for split in json.loads((path / "dataset_info.json").read_text("utf-8"))["splits"]:
        examples = [int(length) for length in split.get("shardLengths", ())]
        if len(examples) > len(files) or sum(examples) > size:
            raise ValueError(
                f"dataset_info.json claims {sum(examples):,} examples of {split['name']} in"
                f" {len(examples):,} files, and there are {size:,} bytes in {len(files):,} files"
            )


def check_features(path: Path) -> None:
    """Raises DataError if features.json names foreign classes, whose modules TFDS would import."""
    for name in _class_names(json.loads((path / "features.json").read_text("utf-8"))):
        if not name.startswith(OWN_FEATURES):
            raise DataError(
                f"{path / 'features.json'} names the class {name!r}, which is not one of TFDS's own"
                f" features ({OWN_FEATURES}…): its code is not run"
            )


def _class_names(value: Any) -> Iterator[str]:
    """All classes that a features.json names, also in the JSON that its strings hold."""
    if isinstance(value, list):
        for one in value:
            yield from _class_names(one)
    if isinstance(value, str) and value.lstrip().startswith(("{", "[")):
        yield from _class_names(json.loads(value))
    if isinstance(value, dict):
        for key, one in value.items():
            if key in ("pythonClassName", "python_class_name", "type") and isinstance(one, str):
                yield one
            yield from _class_names(one)


def _open(tfds: Any, name: str, path: Path, image_size: int, resize: int, target: Target) -> Stored:
    builder = tfds.builder_from_directory(path)
    features = builder.info.features
    image_key, target_key = _image_and_target(name, tfds, builder.info, target)
    height, width, channels = features[image_key].shape
    if (height, width) == (image_size, image_size):
        image_size = 0
    if image_size:
        height = width = image_size
    if height is None or width is None:
        raise DataError(f"the images of {name} differ in size: set one size with --data.image-size")
    shape = (height, width, channels or 3)
    if shape[2] not in MODES or height * width > MOST_PIXELS:
        raise DataError(
            f"the images of {name} have the shape {shape}, expected 1, 3 or 4 channels and at most"
            f" {MOST_PIXELS:,} pixels"
        )
    class_names: tuple[str, ...] = ()
    if target == "label":
        labels = features[target_key]
        # Without a file of names, TFDS makes a name for each class.
        if labels.num_classes > MOST_CLASSES or len(labels.names) > MOST_CLASSES:
            raise DataError(f"{name} has more than {MOST_CLASSES:,} classes, which is the limit")
        class_names = tuple(labels.names)
    sizes = {split: info.num_examples for split, info in builder.info.splits.items()}
    if class_names == tuple(str(number) for number in range(len(class_names))):
        class_names = CLASS_NAMES.get(name, class_names)
    title = TITLES.get(name, name)
    defaults: dict[str, str] = {}
    notes: tuple[str, ...] = ()
    if name == "cifar10" and sizes == CIFAR10_45K_5K:
        title = f"{title} 45k/5k"
        defaults = {"validation": "test", "test": "none"}
        notes = (
            "this copy of CIFAR-10 holds the 50,000 official training images only: its 'test' is"
            " the 45k/5k validation set, and the official test images are missing",
        )
    images = [key for key, one in features.items() if isinstance(one, tfds.features.Image)]
    skip = {key: tfds.decode.SkipDecoding() for key in images}
    crop = centre_square(image_size, resize) if image_size else None
    mask_crop = centre_square(image_size, resize, nearest=True) if image_size else None

    def of_split(split: str) -> TfdsRecords:
        source = builder.as_data_source(split=split, decoders=skip)
        about = (f"{name} {split}", path, source, image_key, target_key, len(class_names), shape)
        if target == "label":
            return TfdsLabels(*about, crop)
        return TfdsMasks(*about, crop, mask_crop, UNLABELLED.get(name))

    splits: Any = {split: of_split(split) for split, size in sizes.items() if size}
    if not class_names:
        count = 1 + max((one.largest_class() for one in splits.values()), default=-1)
        class_names = tuple(map(str, range(count)))
        splits = {split: replace(one, num_classes=count) for split, one in splits.items()}
    return Stored(name, title, splits, class_names, defaults, notes=notes)


def import_tfds(name: str) -> Any:
    """The module tensorflow_datasets, imported only when needed because it takes a second."""
    with extra("data", f"the data set {name}"):
        import array_record  # noqa: F401 (which TFDS imports when it reads)
        import tensorflow_datasets as tfds
    return tfds


def _image_and_target(name: str, tfds: Any, info: Any, target: Target) -> tuple[str, str]:
    # Sorted, because a stored data set does not fix the order of its features.
    features = dict(sorted(info.features.items()))
    images = [key for key, one in features.items() if isinstance(one, tfds.features.Image)]
    labels = [key for key, one in features.items() if isinstance(one, tfds.features.ClassLabel)]
    if target == "mask":
        labels = [key for key in images if _is_mask(key, features[key])]
        images = [key for key in images if key not in labels]
    supervised = info.supervised_keys or (None, None)
    image_key = _first_of(images, supervised[0], "image")
    target_key = _first_of(labels, supervised[1], target)
    if image_key is None or target_key is None:
        kind = "class label" if target == "label" else "mask of one channel"
        use = "classification" if target == "label" else "segmentation"
        masks = target == "label" and any(_is_mask(key, features[key]) for key in images)
        hint = " (only for segmentation: see experiments.unet)" if masks else ""
        raise DataError(
            f"{name} has no {'image' if image_key is None else kind}, so it cannot be used for"
            f" {use}{hint}: its features are "
            + ", ".join(f"{key} ({type(one).__name__})" for key, one in features.items())
        )
    if features[image_key].np_dtype != "uint8":
        raise DataError(
            f"the images of {name} are of type {features[image_key].np_dtype}, expected uint8"
        )
    return image_key, target_key


def _is_mask(key: str, feature: Any) -> bool:
    """Whether an image holds classes of pixels; the numbers of instances are none."""
    named = any(word in key for word in ("mask", "segmentation", "annotation", "label"))
    return named and feature.shape[-1] == 1 and feature.np_dtype == "uint8"


def _first_of(keys: Sequence[str], *preferred: str | None) -> str | None:
    return next((key for key in (*preferred, *keys) if key in keys), None)
