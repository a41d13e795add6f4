"""Finds images with boxes, or with instances, in a prepared TFDS directory."""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from cnn_jax.data.decode import size_of
from cnn_jax.data.errors import DataError
from cnn_jax.data.instance_files import decode_ids, objects_of_ids
from cnn_jax.data.names import CLASS_NAMES
from cnn_jax.data.objects import Annotated, Annotations, Ids, Objects, ObjectTarget
from cnn_jax.data.tfds_examples import broken

CROWDS = ("is_crowd", "is_difficult")
"""What COCO and VOC call objects that do not count."""
AREA = "area"
"""What COCO calls the pixels of an object, fewer than those of its box."""


@dataclass(frozen=True)
class _Keys:
    """The features: of the image, and of its objects by a sequence, one box or instance ids."""

    image: str
    size: tuple[int, int] | None
    objects: str = ""
    box: str = ""
    label: str = ""
    crowd: str = ""
    area: str = ""
    ids: str = ""


def find_tfds_objects(tfds: Any, name: str, path: Path, target: ObjectTarget) -> Annotations:
    """The objects of all splits of a prepared directory. Reads every record once.

    Boxes are the first of these: a sequence with a box and a class, such as `objects`; a box and a
    class; an image whose name has "instance" in it, of the ids 1, 2, … of the objects of one class.
    The last has the pixels of the instances, for the target "instances".

    Raises:
        DataError: the features have neither; labels or images that cannot be used.
    """
    builder = tfds.builder_from_directory(path)
    features = dict(sorted(builder.info.features.items()))
    keys = _find_keys(tfds, name, features, target)
    images = [key for key, one in features.items() if isinstance(one, tfds.features.Image)]
    skip = {key: tfds.decode.SkipDecoding() for key in images}
    if keys.ids:
        class_names = CLASS_NAMES.get(name, ("object",))
    else:
        inner = features[keys.objects].feature if keys.objects else features
        class_names = tuple(inner[keys.label].names)
    splits = {
        split: [
            _annotated(f"example {index} of {name} {split}", path, source, index, keys, class_names)
            for index in range(len(source))
        ]
        for split, info in builder.info.splits.items()
        if info.num_examples
        for source in [builder.as_data_source(split=split, decoders=skip)]
    }
    channels = features[keys.image].shape[-1] or 3
    return Annotations(splits, class_names, channels=channels)


def _find_keys(tfds: Any, name: str, features: dict[str, Any], target: ObjectTarget) -> _Keys:
    kinds = tfds.features
    pictures = [key for key, one in features.items() if isinstance(one, kinds.Image)]
    ids = [key for key in pictures if "instance" in key]
    images = [key for key in pictures if key not in ids and features[key].np_dtype == "uint8"]
    if images:
        image = "image" if "image" in images else images[0]
        height, width, _ = features[image].shape
        size = (height, width) if height and width else None
        for objects, one in [*_sequences(kinds, features), ("", features)]:
            box, label = _first(one, kinds.BBoxFeature), _first(one, kinds.ClassLabel)
            if box and label and target != "instances":
                _check_format(name, one[box])
                crowd = next((key for key in CROWDS if key in one), "")
                area = AREA if AREA in one else ""
                return _Keys(image, size, objects, box, label, crowd, area)
        if ids:
            return _Keys(image, size, ids=ids[0])
    wanted = "instances" if target == "instances" else "boxes with classes"
    raise DataError(
        f"{name} has no images with {wanted}: its features are "
        + ", ".join(f"{key} ({type(one).__name__})" for key, one in features.items())
    )


def _sequences(kinds: Any, features: dict[str, Any]) -> Iterator[tuple[str, Any]]:
    """The features that are sequences of named ones."""
    for key, one in features.items():
        if isinstance(one, kinds.Sequence) and isinstance(one.feature, kinds.FeaturesDict):
            yield key, dict(sorted(one.feature.items()))


def _first(features: dict[str, Any], kind: type) -> str:
    return next((key for key, one in features.items() if isinstance(one, kind)), "")


def _check_format(name: str, feature: Any) -> None:
    form = getattr(feature, "bbox_format", None)
    if form is not None and form.name != "REL_YXYX":
        raise DataError(
            f"the boxes of {name} have the format {form.name}, expected REL_YXYX (ymin, xmin, ymax,"
            " xmax as shares of the image): prepare the data set with these"
        )


def _annotated(
    what: str, path: Path, source: Any, index: int, keys: _Keys, class_names: tuple[str, ...]
) -> Annotated:
    record = _record(path, source, index)
    image = f"the image of {what}"
    read = partial(_bytes, path, source, index, keys.image)
    try:
        size = keys.size or size_of(record[keys.image])
    except ValueError as error:
        raise DataError(f"{image} cannot be decoded: {error}") from error
    if keys.ids:
        ids = partial(_ids, path, source, index, keys.ids, what)
        return Annotated(image, read, size, objects_of_ids(ids(), what), ids)
    of = record[keys.objects] if keys.objects else record
    boxes = np.asarray(of[keys.box], np.float64).reshape(-1, 4)[:, [1, 0, 3, 2]]
    labels = np.asarray(of[keys.label], np.int64).reshape(-1)
    crowd = np.asarray(of[keys.crowd] if keys.crowd else np.zeros(len(boxes)), bool).reshape(-1)
    areas = np.asarray(of[keys.area], np.float64).reshape(-1) if keys.area else None
    if any(len(one) != len(boxes) for one in (labels, crowd, *([] if areas is None else [areas]))):
        raise broken(path, ValueError(f"{what} has {len(boxes)} boxes and {len(labels)} labels"))
    wrong = labels[(labels < 0) | (labels >= len(class_names))]
    if len(wrong):
        raise DataError(
            f"{what} has the label {wrong[0]}, outside the {len(class_names)} classes"
            f" 0..{len(class_names) - 1}"
        )
    places = [f"{what}, object {row}" for row in range(len(boxes))]
    boxes *= np.tile(size[::-1], 2)
    return Annotated(image, read, size, Objects(boxes, labels, crowd, places, areas))


def _record(path: Path, source: Any, index: int) -> Any:
    try:
        return source[index]
    except Exception as error:  # array_record and protobuf raise many kinds of exceptions
        raise broken(path, error) from error


def _bytes(path: Path, source: Any, index: int, key: str) -> bytes:
    return _record(path, source, index)[key]


def _ids(path: Path, source: Any, index: int, key: str, what: str) -> Ids:
    try:
        return decode_ids(_bytes(path, source, index, key))
    except ValueError as error:
        raise DataError(f"the instances of {what} cannot be decoded: {error}") from error
