"""Reads folders of images with masks: pairs of files, PASCAL VOC's layout, or Cityscapes'."""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path

import jax
import numpy as np
from jaxtyping import UInt8
from PIL import Image as PillowImage

from cnn_jax.data.augment import IGNORED
from cnn_jax.data.dataset import Stored
from cnn_jax.data.decode import centre_square, check_shape
from cnn_jax.data.errors import DataError, UnreadableImage
from cnn_jax.data.examples import Crop, HostExample, Spec
from cnn_jax.data.image_files import read_file
from cnn_jax.data.mask_pairs import Pair, layout_of
from cnn_jax.data.masks import CLASSES_FILE, Coding, decode_mask
from cnn_jax.data.unreadable import decode_file, first_image

SAMPLED = 100
"""About as many masks are looked at for values that are no class numbers, if classes are known."""


def has_masks(root: Path) -> bool:
    """Whether a folder has images and masks, by the names of the folders in it."""
    return layout_of(root) is not None


def open_mask_folder(
    name: str, image_size: int = 0, resize: int = 0, *, skip_unreadable: bool = False
) -> Stored:
    """Opens a folder of images and masks, see `mask_pairs` for the layouts.

    Images are converted to RGB. Masks hold the number of each pixel's class, as gray values or as
    indices of a palette, or 255 for none; see `decode_mask`. With `image_size` the shorter side is
    resized to it (or to `resize`), the mask to the nearest pixels, and the central square is kept.
    Otherwise all images must have the size of the first. Without `classes.txt` all masks are read
    once for the number of the classes, and a note tells it.

    Raises:
        DataError: no pairs; an image without a mask, or the other way round; masks of 0 and 255.
    """
    root = Path(name).expanduser()
    find = layout_of(root)
    assert find is not None
    pairs = find(root)
    coding, notes = _named(
        pairs.coding, [pair for split in pairs.splits.values() for pair in split]
    )
    shape = (image_size, image_size, 3)
    if image_size == 0:
        images = [image for image, _ in next(iter(pairs.splits.values()))]
        shape = first_image(images, skip_unreadable=skip_unreadable).shape
    crop, mask_crop = (
        centre_square(image_size, resize, nearest=nearest) if image_size else None
        for nearest in (False, True)
    )
    splits = {
        split: MaskedExamples([*found], coding, shape, crop, mask_crop)
        for split, found in pairs.splits.items()
    }
    return Stored(
        str(root),
        root.resolve().name,
        splits,
        coding.names,
        unusable=pairs.unusable,
        notes=(*pairs.notes, *notes),
    )


def _named(coding: Coding, pairs: Sequence[Pair]) -> tuple[Coding, tuple[str, ...]]:
    """The coding with a name for each class, and notes for the user."""
    if coding.colours or coding.numbers:
        return coding, ()
    values = _values(pairs[:: len(pairs) // SAMPLED or 1] if coding.names else pairs, coding)
    classes = values - {IGNORED}
    if IGNORED in values and classes <= {0} and len(coding.names) != 1:
        raise DataError(
            f"the masks, such as {pairs[0][1]}, hold {' and '.join(map(str, sorted(values)))} only,"
            f" and {IGNORED} stands for pixels of no class. If it is a class, save it as 1, or give"
            f" {CLASSES_FILE} the lines 'background 0 0 0' and 'object 255 255 255'"
        )
    if coding.names:
        return coding, ()
    count = max(classes) + 1
    absent = sorted(set(range(count)) - classes)
    note = (
        f"the masks hold the classes 0 to {count - 1}"
        + (f", without {', '.join(map(str, absent))}" if absent else "")
        + (f", and {IGNORED} for none" if IGNORED in values else "")
        + f"; name them in {CLASSES_FILE}, one a line"
    )
    return replace(coding, names=tuple(map(str, range(count)))), (note,)


def _values(pairs: Sequence[Pair], coding: Coding) -> set[int]:
    """All values of masks. Those that cannot be read are told when they are decoded."""

    def values(pair: Pair) -> list[int]:
        try:
            return np.unique(_decode_mask(pair[1], coding)).tolist()
        except UnreadableImage:
            return []

    with ThreadPoolExecutor() as pool:
        found = set().union(*pool.map(values, pairs))
    if not found:
        _decode_mask(pairs[0][1], coding)  # which raises the error
    return found


def _decode_mask(path: Path, coding: Coding) -> UInt8[np.ndarray, "height width"]:
    try:
        return decode_mask(read_file(path), coding)
    except (OSError, ValueError) as error:
        raise UnreadableImage(f"the mask {path} cannot be read: {error}") from error


@dataclass(frozen=True)
class MaskedExamples:
    """Random access to images and their masks.

    Attributes:
        pairs: the files.
        coding: of the masks.
        image_shape: of every image, after the crop.
        crop: applied to every image; None for none.
        mask_crop: applied to every mask, to its nearest pixels.
    """

    pairs: list[Pair]
    coding: Coding
    image_shape: tuple[int, int, int]
    crop: Crop | None
    mask_crop: Crop | None

    def __len__(self) -> int:
        return len(self.pairs)

    @property
    def paths(self) -> list[Path]:
        """The files of the images."""
        return [image for image, _ in self.pairs]

    @property
    def spec(self) -> Spec:
        return {
            "image": jax.ShapeDtypeStruct(self.image_shape, np.uint8),
            "mask": jax.ShapeDtypeStruct(self.image_shape[:2], np.uint8),
        }

    def __getitem__(self, index: int) -> HostExample:
        image_path, mask_path = self.pairs[index]
        image, mask = decode_file(image_path), _decode_mask(mask_path, self.coding)
        if image.shape[:2] != mask.shape:
            raise DataError(
                f"the mask {mask_path} has {_size(mask)} pixels (height x width) and its image"
                f" {image_path} {_size(image)}, expected the same: replace the one that is wrong"
            )
        count = len(self.coding.names)
        wrong = (mask >= count) & (mask != IGNORED)
        if wrong.any():
            row, column = np.argwhere(wrong)[0].tolist()
            raise DataError(
                f"the mask {mask_path} has the class {mask[row, column]} in row {row}, column"
                f" {column}, expected 0 to {count - 1}, or {IGNORED} for none: correct the mask, or"
                f" name all classes in {CLASSES_FILE}"
            )
        image, mask = _cropped(image, self.crop), _cropped(mask, self.mask_crop)
        check_shape(f"the image file {image_path}", image.shape, self.image_shape)
        return {"image": image, "mask": mask}

    def __getitems__(self, indices: Sequence[int]) -> list[HostExample]:
        return [self[index] for index in indices]

    def check(self, index: int) -> None:
        """Raises UnreadableImage if image or mask of an example cannot be read."""
        image, mask = self.pairs[index]
        decode_file(image)
        _decode_mask(mask, self.coding)

    def rows(self, places: Sequence[int]) -> "MaskedExamples":
        """The examples at `places`, in that order."""
        return replace(self, pairs=[self.pairs[index] for index in places])


def _size(array: np.ndarray) -> str:
    return f"{array.shape[0]}x{array.shape[1]}"


def _cropped(array: np.ndarray, crop: Crop | None) -> np.ndarray:
    return array if crop is None else np.asarray(crop(PillowImage.fromarray(array)))
