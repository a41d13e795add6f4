"""Finds images and their masks in folders: pairs, PASCAL VOC's layout, or Cityscapes'."""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from cnn_jax.data.augment import IGNORED
from cnn_jax.data.errors import LISTED, DataError, some_of
from cnn_jax.data.image_files import images_below, listed_suffixes, not_read, read_file
from cnn_jax.data.masks import CLASSES_FILE, Coding, read_coding
from cnn_jax.data.names import SPLIT_NAMES, way_without
from cnn_jax.voc import VOC_CLASSES

LAYOUT = "images/NAME.jpg with masks/NAME.png, both in train|val|test/ or to be split"
Pair = tuple[Path, Path]
"""The files of an image and of its mask."""

# cityscapesScripts, helpers/labels.py: the ids and names of the classes that count, by trainId.
CITYSCAPES = {
    7: "road",
    8: "sidewalk",
    11: "building",
    12: "wall",
    13: "fence",
    17: "pole",
    19: "traffic light",
    20: "traffic sign",
    21: "vegetation",
    22: "terrain",
    23: "sky",
    24: "person",
    25: "rider",
    26: "car",
    27: "truck",
    28: "bus",
    31: "train",
    32: "motorcycle",
    33: "bicycle",
}
CITYSCAPES_IDS = 34


@dataclass(frozen=True)
class Pairs:
    """The pairs of each split, and what their masks mean.

    Attributes:
        splits: the pairs, sorted by their names.
        coding: of the masks.
        unusable: other splits, with the reasons.
        notes: messages for the user.
    """

    splits: Mapping[str, Sequence[Pair]]
    coding: Coding
    unusable: Mapping[str, str] = field(default_factory=dict)
    notes: tuple[str, ...] = ()


def layout_of(root: Path) -> Callable[[Path], Pairs] | None:
    """What finds the pairs of a folder; None if it has no masks, by the names of its folders."""

    def has(*names: str, below: Path = root) -> bool:
        return all((below / name).is_dir() for name in names)

    if has("JPEGImages", "SegmentationClass"):
        return find_voc
    if has("leftImg8bit", "gtFine"):
        return find_cityscapes
    if has("images", "masks") or any(
        has("images", "masks", below=root / split) for split in SPLIT_NAMES
    ):
        return find_named
    return None


def find_named(root: Path, beside: str = "masks") -> Pairs:
    """Pairs of equal names: `images/NAME.jpg` and `masks/NAME.png`, at any depth below.

    `beside` is the name of the folders of masks.

    The splits are folders above `images` and `masks`, or below both; otherwise all pairs are in the
    split "train". The names of the classes, and their colours, are those of the file `classes.txt`
    (see `read_coding`).

    Raises:
        DataError: an image without a mask, a mask without an image, two of one name; no pairs.
    """
    return _pairs(split_folders(root, beside), _coding(root))


def split_folders(root: Path, beside: str) -> dict[str, tuple[Path, Path]]:
    """The folder of the images of each split, and the one beside it."""
    folders = {split: (root / split / "images", root / split / beside) for split in SPLIT_NAMES}
    folders = {split: both for split, both in folders.items() if any(one.is_dir() for one in both)}
    if not folders:
        images, others = root / "images", root / beside
        below = [split for split in SPLIT_NAMES if (images / split).is_dir()]
        folders = {split: (images / split, others / split) for split in below}
        folders = folders or {"train": (images, others)}
    return folders


def find_voc(root: Path) -> Pairs:
    """PASCAL VOC's layout: the names in `ImageSets/Segmentation/train.txt` and `val.txt`.

    The images are in `JPEGImages`, the masks in `SegmentationClass`: palette images whose indices
    are the classes, and 255 for the objects' borders, which do not count. The classes are VOC's, or
    those of a file `classes.txt`.

    Source: Everingham and Winn, "The PASCAL VOC 2012 Development Kit".

    Raises:
        DataError: no lists, a name that is twice in a list, an image or a mask that is missing.
    """
    lists = root / "ImageSets" / "Segmentation"
    files = {name: lists / f"{name}.txt" for name in SPLIT_NAMES}
    names = {name: listed(path) for name, path in files.items() if path.is_file()}
    if not names:
        raise DataError(f"{lists} has no train.txt and no val.txt, which list the names of images")
    folders = {split: (root / "JPEGImages", root / "SegmentationClass") for split in names}
    return _pairs(folders, _coding(root, Coding(VOC_CLASSES)), names=names)


def find_cityscapes(root: Path) -> Pairs:
    """Cityscapes' layout: `leftImg8bit/train/CITY/X_leftImg8bit.png` and their `gtFine`.

    Of the 34 ids in `gtFine/train/CITY/X_gtFine_labelIds.png` the 19 that count become the classes
    0 to 18, and the others `IGNORED`. The test split has no public classes and is left out.

    Source: Cordts et al. 2016; cityscapesScripts, helpers/labels.py.

    Raises:
        DataError: an image without a mask, or a mask without an image; no pairs.
    """
    images, masks = root / "leftImg8bit", root / "gtFine"
    splits = [split for split in ("train", "val") if (images / split).is_dir()]
    folders = {split: (images / split, masks / split) for split in splits}
    numbers = dict.fromkeys(range(CITYSCAPES_IDS), IGNORED)
    numbers |= {number: train_id for train_id, number in enumerate(CITYSCAPES)}
    coding = Coding(tuple(CITYSCAPES.values()), numbers=numbers)
    return _pairs(folders, coding, endings=("_leftImg8bit", "_gtFine_labelIds"))


def _coding(root: Path, default: Coding | None = None) -> Coding:
    path = root / CLASSES_FILE
    return read_coding(path) if path.exists() else default or Coding()


def listed(path: Path) -> list[str]:
    """The names in a list, one a line.

    Raises:
        DataError: it cannot be read, or has a name twice.
    """
    try:
        names = [line.strip() for line in read_file(path).decode("utf-8").splitlines()]
    except (OSError, ValueError) as error:
        raise DataError(f"the list {path} cannot be read: {error}") from error
    names = [name for name in names if name]
    twice = [name for name, count in Counter(names).items() if count > 1]
    if twice:
        raise DataError(f"{path} lists {', '.join(twice[:LISTED])} more than once: keep one line")
    return names


def _pairs(
    folders: Mapping[str, tuple[Path, Path]],
    coding: Coding,
    *,
    endings: tuple[str, str] = ("", ""),
    names: Mapping[str, Sequence[str]] | None = None,
) -> Pairs:
    """The pairs of each split, whose image and mask have one name before these endings.

    Args:
        folders: of the images and of the masks of each split.
        coding: of the masks.
        endings: of the names.
        names: those that belong to each split; by default all.
    """
    splits: dict[str, Sequence[Pair]] = {}
    unusable: dict[str, str] = {}
    others: list[Path] = []
    for split, both in folders.items():
        images, masks = (
            by_name(folder, ending, others) for folder, ending in zip(both, endings, strict=True)
        )
        chosen = names[split] if names else sorted(images.keys() | masks.keys())
        try:
            splits[split] = _partners(both, endings, chosen, images, masks)
        except DataError as error:
            unusable[split] = f"{error}{way_without(split)}"
    if not splits:
        raise DataError(next(iter(unusable.values()), f"there are no images: expected {LAYOUT}"))
    notes = not_read(sorted(set(others)), "folders of images and masks")
    return Pairs(splits, coding, unusable, notes)


def by_name(folder: Path, ending: str, others: list[Path]) -> dict[str, list[Path]]:
    """The images below a folder by what their names are before the ending.

    Other files are added to `others`.
    """
    if not folder.is_dir():
        return {}
    images, rest = images_below(folder)
    if not ending:  # a folder whose names have endings holds other files too
        others.extend(rest)
    found: dict[str, list[Path]] = {}
    for path in images:
        name = path.relative_to(folder).with_suffix("").as_posix()
        if name.endswith(ending):
            found.setdefault(name.removesuffix(ending), []).append(path)
    return found


def _partners(
    folders: tuple[Path, Path],
    endings: tuple[str, str],
    names: Sequence[str],
    images: Mapping[str, Sequence[Path]],
    masks: Mapping[str, Sequence[Path]],
) -> list[Pair]:
    if not images.keys() & set(names):
        raise DataError(f"{folders[0]} holds no images: expected files with {listed_suffixes()}")
    if not masks.keys() & set(names):
        raise DataError(
            f"{folders[1]} holds no masks of the {len(names):,} images in {folders[0]}: expected"
            f" {names[0]}{endings[1]}.png and so on"
        )
    problems: list[str] = []
    for name in names:
        first, second = images.get(name, ()), masks.get(name, ())
        if not first:
            problems.append(f"there is no image {folders[0] / name}{endings[0]}.jpg (or .png, …)")
        if not second:
            problems.append(f"there is no mask {folders[1] / name}{endings[1]}.png")
        problems.extend(
            f"{files[0]} and {files[1].name} have one name"
            for files in (first, second)
            if len(files) > 1
        )
    if problems:
        raise DataError(
            f"each image needs one mask of its name, add or remove files:\n  {some_of(problems)}"
        )
    return [(images[name][0], masks[name][0]) for name in names]
