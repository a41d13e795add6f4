"""Loads a data set by name. All experiments get their data here."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from difflib import get_close_matches
from pathlib import Path
from typing import Literal

from cnn_jax.data.archives import OFFICIAL
from cnn_jax.data.array_file import SUFFIX, open_array_file
from cnn_jax.data.augment import Augment
from cnn_jax.data.dataset import Dataset, Stored
from cnn_jax.data.decode import LONGEST_SIDE
from cnn_jax.data.embedded import open_digits
from cnn_jax.data.errors import DataError
from cnn_jax.data.folders import is_folder_name, open_folder
from cnn_jax.data.mask_folders import has_masks, open_mask_folder
from cnn_jax.data.names import TITLES
from cnn_jax.data.object_folders import open_object_folder
from cnn_jax.data.prepare import AugmentOf, prepare
from cnn_jax.data.scenes import open_shapes
from cnn_jax.data.tfds_reader import (
    Target,
    find_prepared,
    open_tfds,
    prepared_names,
    tfds_directory,
)
from cnn_jax.data.tfds_writer import within_reach, write_tfds
from cnn_jax.errors import check_range

MOST_WORKERS = 1024
"""The largest number of processes that decode."""
MOST_BOXES = 65_535
"""The largest number that boxes are padded to."""
EMBEDDED = ("digits", "shapes")
"""Data sets that need no files."""


@dataclass(frozen=True)
class DataConfig:
    """Which data set, where it is, and how it is split."""

    name: str = "auto"
    """TFDS data set, "digits", "shapes", folder of images (and masks), .npz; "auto": the lecture's
    data set."""
    dir: str = ""
    """Directory of TFDS data sets; by default $TFDS_DATA_DIR, then ~/tensorflow_datasets."""
    train: str = ""
    """Training examples, such as "train[:90%]"; by default train without the others."""
    validation: str = ""
    """Validation examples, or "none"; by default the data set's own, else a random tenth."""
    test: str = ""
    """Test examples, or "none"; by default the data set's own."""
    storage: Literal["auto", "device", "stream"] = "auto"
    """Decode once onto the device, or stream; "auto": stream from 1 GiB."""
    image_size: int = 0
    """Resize the shorter side to this and keep the centre square, or with boxes the longer side and
    keep all; 0 leaves images as they are."""
    most_boxes: int = 0
    """Number that boxes are padded to; 0: as many as the image with the most has."""
    resize: int = 0
    """Resize the shorter side to this, more than image_size, before the square is cut out."""
    skip_unreadable: bool = False
    """Leave out images of a folder that cannot be read, and boxes that cannot be used, and name
    them: all at the start, or images of a stream when they are met. The run stays the same."""
    workers: int = 0
    """Processes that decode a stream, in training and in evaluation; 0: the training process."""

    def __post_init__(self) -> None:
        check_range(self, 0, LONGEST_SIDE, image_size=self.image_size, resize=self.resize)
        check_range(self, 0, MOST_WORKERS, workers=self.workers)
        check_range(self, 0, MOST_BOXES, most_boxes=self.most_boxes)


def load_dataset(
    config: DataConfig,
    *,
    default: str,
    augment: Sequence[Augment] | AugmentOf = (),
    only: Sequence[str] = (),
    target: Target | Literal["image"] = "label",
) -> Dataset:
    """Loads the data set that `config` names.

    "auto" loads `default`, the lecture's data set, if it is prepared or can be downloaded, and
    scikit-learn's digits otherwise. With the target "mask", the class of every pixel is to be
    predicted; with "box", "boxes" and "instances" objects, see `objects.ObjectTarget`. "auto" then
    falls back on the scenes of shapes. With the target "image", nothing but the images counts: a
    folder needs no classes, and a data set of TFDS no labels if it has masks.

    `augment` may be a function of the images' height, width and channels. Augmentations that make
    no sense for the images are left out, with a note. If the images are streamed, a random resized
    crop that comes first is applied to the whole images, otherwise to the central squares.

    For an evaluation, `only=("validation", "test")` loads the first of these splits that there is,
    alone. What is missing or wrong with the others is then no error: a folder with `val/` will do.

    Raises:
        DataError: a problem that the user can fix.
    """
    if config.resize and not 0 < config.image_size <= config.resize:
        raise DataError(
            f"--data.resize {config.resize} is the shorter side of the image from which a square of"
            f" --data.image-size {config.image_size} is cut: set an image size of at most"
            f" {config.resize}"
        )
    if config.resize and target not in ("label", "mask", "image"):
        raise DataError(
            f"--data.resize {config.resize} is for squares that are cut out of images, and boxes"
            " need all of them: leave it out, and set --data.image-size for the longer side"
        )
    stored, stand_in = _open(config, default, target)
    if target not in ("label", "mask", "image") and "boxes" not in stored.spec:
        raise DataError(
            f"the examples of {stored.title} have no boxes, only {', '.join(stored.spec)}: name a"
            " data set that has them, such as --data.name shapes"
        )
    dataset = prepare(
        stored,
        train=config.train,
        validation=config.validation,
        test=config.test,
        storage=config.storage,
        workers=config.workers,
        skip_unreadable=config.skip_unreadable,
        augment=augment,
        only=only,
    )
    return replace(dataset, stand_in=stand_in)


def _open(
    config: DataConfig, default: str, target: Target | Literal["image"]
) -> tuple[Stored, bool]:
    """The data set, and whether it replaces the lecture's own."""
    if config.name != "auto":
        return _open_named(config.name, config, target), False
    directory = tfds_directory(config.dir)
    why = f"not prepared under {directory}, and cannot be downloaded"
    if default in EMBEDDED or find_prepared(default, directory):
        return _open_named(default, config, target), False
    if within_reach(default, directory):
        try:
            return _open_named(default, config, target), False
        except DataError as error:
            why = f"not available ({error})"
    wanted = TITLES.get(default, default)
    if target != "label":
        embedded = open_shapes(config.image_size, "mask" if target == "image" else target)
        instead, way_out = embedded.title, ""
    else:
        embedded = open_digits(config.image_size)
        instead, way_out = f"scikit-learn's {embedded.title}", ", or connect to a network"
    note = (
        f"{wanted} is {why}: training on {instead} instead. To train on {wanted}, set"
        f" TFDS_DATA_DIR (or --data.dir) to a directory that holds {default}{way_out}."
    )
    title = f"{embedded.title} (stand-in for {wanted})"
    return replace(embedded, title=title, notes=(note,)), True


def _open_images(name: str, config: DataConfig) -> Stored:
    """A data set of which only the images count."""
    if is_folder_name(name):
        return open_folder(
            name,
            config.image_size,
            config.resize,
            skip_unreadable=config.skip_unreadable,
            labelled=False,
        )
    try:
        return _open_named(name, config, "label")
    except DataError as error:
        try:
            return _open_named(name, config, "mask")
        except DataError:
            raise error from None


def _open_named(name: str, config: DataConfig, target: Target | Literal["image"]) -> Stored:
    if target == "image":
        return _open_images(name, config)
    if name == "shapes":
        return open_shapes(config.image_size, target)
    if name == "digits":
        return open_digits(config.image_size)
    if name.endswith(SUFFIX):
        if config.image_size:
            raise DataError(
                f"the images of {name} are not resized: remove --data.image-size, or resize them"
                " before they are saved"
            )
        return open_array_file(name)
    if is_folder_name(name) and target != "label" and target != "mask":
        return open_object_folder(
            name,
            target,
            config.image_size,
            config.most_boxes,
            skip_unreadable=config.skip_unreadable,
        )
    if is_folder_name(name):
        open_one = open_mask_folder if has_masks(Path(name).expanduser()) else open_folder
        return open_one(
            name, config.image_size, config.resize, skip_unreadable=config.skip_unreadable
        )
    directory = tfds_directory(config.dir)
    path = find_prepared(name, directory)
    if path is None:
        if name not in OFFICIAL:
            raise DataError(_unknown(name, directory))
        path = write_tfds(name, directory)
    return open_tfds(
        name,
        path,
        config.image_size,
        config.resize,
        target=target,
        most_boxes=config.most_boxes,
        skip_unreadable=config.skip_unreadable,
    )


def _unknown(name: str, directory: Path) -> str:
    there = prepared_names(directory)
    configurations = [one for one in there if one.startswith(f"{name}/")]
    if configurations:
        return f"the data set {name} has the variants {', '.join(configurations)}: choose one"
    known = sorted({*there, *OFFICIAL, *EMBEDDED, "auto"})
    close = get_close_matches(name.lower().replace("-", "_"), known, n=3)
    return (
        f"there is no data set {name!r} under {directory}"
        + (f"; did you mean {' or '.join(close)}?" if close else ".")
        + f" Prepared there: {', '.join(there) or 'nothing'}. Embedded: {', '.join(EMBEDDED)}."
        f" Downloaded on request: {', '.join(OFFICIAL)}. For other data sets of TFDS, prepare them"
        " and set TFDS_DATA_DIR or --data.dir to their directory. For a folder of images, give its"
        f" path, such as ./{name}."
    )
