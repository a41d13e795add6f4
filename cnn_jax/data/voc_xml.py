"""Reads folders of images with PASCAL VOC's annotations: one XML file for each image.

Source: Everingham and Winn, "The PASCAL VOC 2012 Development Kit".
"""

from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from xml.etree.ElementTree import Element, TreeBuilder
from xml.parsers import expat

import numpy as np

from cnn_jax.data.decode import size_of
from cnn_jax.data.errors import DataError, some_of
from cnn_jax.data.image_files import read_file
from cnn_jax.data.mask_pairs import by_name, listed
from cnn_jax.data.masks import CLASSES_FILE, read_coding
from cnn_jax.data.names import SPLIT_NAMES, way_without
from cnn_jax.data.objects import Annotated, Annotations, Objects
from cnn_jax.voc import VOC_CLASSES

MOST_BYTES = 1 << 20
"""The largest XML file that is read."""
Folders = dict[str, tuple[Path, Path, Path | None]]
"""The folders of images and of XML files of each split, and the file that lists its names."""
Named = list[tuple[Annotated, list[str]]]
"""Images, and the names of the classes of their objects."""


def voc_folders(root: Path) -> Folders:
    """The folders of a data set in VOC's layout; {} if it is in another one.

    These are `JPEGImages` and `Annotations`, with the names in `ImageSets/Main/train.txt` and so
    on, or all in the split "train"; or `train/` and so on, with the XML files beside the images.
    """
    both = root / "JPEGImages", root / "Annotations"
    if all(one.is_dir() for one in both):
        lists = {name: root / "ImageSets" / "Main" / f"{name}.txt" for name in SPLIT_NAMES}
        found: Folders = {name: (*both, path) for name, path in lists.items() if path.is_file()}
        return found or {"train": (*both, None)}
    beside = {name: root / name for name in SPLIT_NAMES}
    with_xml = {name: one for name, one in beside.items() if next(one.glob("*.xml"), None)}
    return {name: (folder, folder, None) for name, folder in with_xml.items()}


def find_voc_objects(root: Path) -> Annotations:
    """The objects in VOC's files of a folder, see `voc_folders`.

    Boxes count pixels from 1 and include the last one, as VOC's do: xmin = 1 and xmax = 2 are the
    first two columns. Difficult objects are told apart. The classes are VOC's if these are enough,
    else those of `classes.txt`, else all names in order.

    Raises:
        DataError: an image without its XML file, or the other way round; a file that is broken, too
            large or has a document type; a class that `classes.txt` does not list.
    """
    splits: dict[str, Named] = {}
    unusable: dict[str, str] = {}
    for split, folders in voc_folders(root).items():
        try:
            splits[split] = [_annotated(*pair) for pair in _pairs(*folders)]
        except DataError as error:
            unusable[split] = f"{error}{way_without(split)}"
    if not splits:
        raise DataError(next(iter(unusable.values())))
    class_names, notes = _class_names(root, splits)
    labels = {name: label for label, name in enumerate(class_names)}
    labelled = {
        split: [_labelled(one, names, labels, root) for one, names in found]
        for split, found in splits.items()
    }
    return Annotations(labelled, class_names, unusable, notes)


def _class_names(
    root: Path, splits: Mapping[str, Named]
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    if (path := root / CLASSES_FILE).exists():
        return read_coding(path).names, ()
    used = {name for found in splits.values() for _, names in found for name in names}
    if used <= {*VOC_CLASSES}:
        return VOC_CLASSES[1:], ()
    names = tuple(sorted(used))
    return names, (f"the classes are {some_of(names)}; {CLASSES_FILE}, one a line, orders them",)


def _pairs(images: Path, annotations: Path, names: Path | None) -> list[tuple[Path, Path]]:
    pictures = {name: paths[0] for name, paths in by_name(images, "", []).items()}
    files = {path.stem: path for path in sorted(annotations.glob("*.xml"))}
    chosen = listed(names) if names else sorted(pictures.keys() | files.keys())
    problems = [
        f"there is no image {images / name}.jpg (or .png, …)"
        for name in chosen
        if name not in pictures
    ]
    problems += [f"there is no {annotations / name}.xml" for name in chosen if name not in files]
    if problems:
        raise DataError(
            "each image needs one XML file of its name, add or remove files:\n "
            f" {some_of(problems)}"
        )
    if not chosen:
        raise DataError(f"{names or images} holds no images")
    return [(pictures[name], files[name]) for name in chosen]


def _annotated(image: Path, path: Path) -> tuple[Annotated, list[str]]:
    """An image with the boxes of its objects, and the names of their classes."""
    root, lines = read_xml(path)
    try:
        size = size_of(read_file(image))
    except (OSError, ValueError) as error:
        raise DataError(f"the image {image} cannot be read: {error}") from error
    boxes, names, difficult, places = [], [], [], []
    for one in root.findall("object"):
        where = f"{path}: line {lines[one]}"
        names.append((one.findtext("name") or "").strip())
        if not names[-1]:
            raise DataError(f"{where}: the object has no name of its class")
        corners = [_number(one, key, where) for key in ("xmin", "ymin", "xmax", "ymax")]
        boxes.append([corners[0] - 1, corners[1] - 1, *corners[2:]])
        difficult.append((one.findtext("difficult") or "0").strip() == "1")
        places.append(where)
    objects = Objects(
        np.array(boxes, np.float64).reshape(-1, 4),
        np.zeros(len(names), np.int64),
        np.array(difficult, bool),
        places,
    )
    return Annotated(str(image), partial(read_file, image), size, objects), names


def _number(one: Element, key: str, where: str) -> float:
    text = one.findtext(f"bndbox/{key}")
    try:
        return float(text or "")
    except ValueError:
        found = "no" if text is None else f"{text[:60]!r} as"
        raise DataError(f"{where}: the object has {found} bndbox/{key}, expected pixels") from None


def _labelled(
    one: Annotated, names: Sequence[str], labels: Mapping[str, int], root: Path
) -> Annotated:
    for name, where in zip(names, one.objects.places, strict=True):
        if name not in labels:
            raise DataError(
                f"{where}: the object is of the class {name[:60]!r}, which {root / CLASSES_FILE}"
                " does not list: add it there"
            )
    one.objects.labels[:] = [labels[name] for name in names]
    return one


def read_xml(path: Path) -> tuple[Element, dict[Element, int]]:
    """The root element of an XML file, and the line of each element. Entities are not expanded.

    Raises:
        DataError: not XML, larger than `MOST_BYTES`, or with a document type, which may define
            entities.
    """
    builder, lines = TreeBuilder(), {}
    parser = expat.ParserCreate()

    def start(tag: str, attributes: dict[str, str]) -> None:
        lines[builder.start(tag, attributes)] = parser.CurrentLineNumber

    def refuse(*_: object) -> None:
        raise ValueError(
            f"line {parser.CurrentLineNumber} declares a document type, which is not read"
        )

    parser.StartElementHandler = start
    parser.EndElementHandler = builder.end
    parser.CharacterDataHandler = builder.data
    parser.StartDoctypeDeclHandler = refuse
    try:
        if path.stat().st_size > MOST_BYTES:
            raise ValueError(f"it has more than {MOST_BYTES:,} bytes, which is the limit")
        parser.Parse(read_file(path), True)
        return builder.close(), lines
    except (OSError, ValueError, expat.ExpatError) as error:
        raise DataError(f"{path} cannot be read as XML: {error}") from error
