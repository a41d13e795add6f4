"""Folders of images and masks: pairs, PASCAL VOC's layout, Cityscapes', and what may be wrong."""

import shutil
import struct
import zlib

import numpy as np
import pytest
from PIL import Image

from cnn_jax.data import IGNORED, DataConfig, DataError, StreamSplit, load_dataset
from cnn_jax.data.masks import Coding, decode_mask
from cnn_jax.voc import VOC_CLASSES
from tests.data.conftest import noise, png

MASK = np.array([[0, 1, 2, IGNORED], [2, 2, 1, 0], [0, 0, 0, 1]], np.uint8)
IMAGE = noise(1, (3, 4, 3))[0]
COLOURS = {0: (0, 0, 0), 1: (128, 64, 128), 2: (244, 35, 232), IGNORED: (255, 255, 255)}


def save(path, array):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(array).save(path)


def palette(mask):
    """The mask as an image with a palette in which no index is its own gray."""
    image = Image.fromarray(mask).convert("L")
    image = Image.frombytes("P", image.size, image.tobytes())
    image.putpalette([255 - value // 3 for value in range(768)])
    return image


def in_colours(mask):
    return np.array([[COLOURS[value] for value in row] for row in mask.tolist()], np.uint8)


@pytest.fixture
def folder(tmp_path):
    """Pairs in train and val."""
    for split, count in (("train", 3), ("val", 2)):
        for number in range(count):
            save(tmp_path / split / "images" / f"{number}.png", np.roll(IMAGE, number, axis=1))
            save(tmp_path / split / "masks" / f"{number}.png", np.roll(MASK, number, axis=1))
    return tmp_path


def load(folder, **options):
    return load_dataset(DataConfig(name=str(folder), **options), default="camvid")


def message(folder, **options):
    with pytest.raises(DataError) as error:
        load(folder, **options)
    return str(error.value)


def test_pairs_are_found_by_their_names(folder):
    dataset = load(folder)
    assert {role: len(split) for role, split in dataset.splits.items()} == {
        "train": 3,
        "validation": 2,
    }
    assert dataset.class_names == ("0", "1", "2") and dataset.title == folder.name
    for split in dataset.splits.values():
        assert split.arrays["mask"].dtype == np.uint8
        for number in range(len(split)):
            assert np.array_equal(split.arrays["image"][number], np.roll(IMAGE, number, axis=1))
            assert np.array_equal(split.arrays["mask"][number], np.roll(MASK, number, axis=1))
    (note,) = dataset.notes
    assert "the classes 0 to 2, and 255 for none; name them in classes.txt" in note
    (folder / "classes.txt").write_text("road\n\nside walk\ntree\n")
    named = load(folder)
    assert named.class_names == ("road", "side walk", "tree") and not named.notes


def test_splits_may_lie_below_images_and_masks(folder):
    whole = load(folder)
    for kind in ("images", "masks"):
        (folder / "all" / kind).mkdir(parents=True)
        for split in ("train", "val"):
            shutil.move(folder / split / kind, folder / "all" / kind / split)
    dataset = load(folder / "all")
    assert dataset.splits.keys() == {"train", "validation"}
    for role, split in dataset.splits.items():
        assert np.array_equal(split.arrays["mask"], whole.splits[role].arrays["mask"])


def test_a_folder_without_splits_is_split(tmp_path):
    for number in range(20):
        save(tmp_path / "images" / "deep" / f"{number:02}.jpg", IMAGE)
        save(tmp_path / "masks" / "deep" / f"{number:02}.png", MASK)
    (tmp_path / "masks" / "notes.txt").write_text("")
    dataset = load(tmp_path)
    assert {role: len(split) for role, split in dataset.splits.items()} == {
        "train": 18,
        "validation": 2,
    }
    assert "images and masks that are not read: 1 (.txt 1)" in dataset.notes[0]
    first = load(tmp_path, train="train[:5]", validation="none").splits["train"]
    assert len(first) == 5


@pytest.mark.parametrize("storage", ["device", "stream"])
def test_images_of_different_sizes_are_resized_with_their_masks(tmp_path, storage):
    # Each pixel's red channel is its class.
    for number, (height, width) in enumerate([(8, 16), (20, 10), (5, 5)]):
        mask = np.kron(np.arange(height)[:, None] % 2, np.ones((1, width))).astype(np.uint8)
        mask[:, : width // 2] += 2
        image = np.stack([mask * 60] * 3, axis=-1)
        save(tmp_path / "images" / f"{number}.png", image.repeat(4, 0).repeat(4, 1))
        save(tmp_path / "masks" / f"{number}.png", mask.repeat(4, 0).repeat(4, 1))
    assert "set one size for all images with --data.image-size" in message(
        tmp_path, validation="none"
    )
    dataset = load(tmp_path, image_size=20, validation="none", storage=storage)
    split = dataset.splits["train"]
    assert isinstance(split, StreamSplit) == (storage == "stream")
    for number in range(3):
        image, mask = split[number]["image"], split[number]["mask"]
        assert image.shape == (20, 20, 3) and mask.shape == (20, 20)
        assert set(np.unique(mask)) == {0, 1, 2, 3}  # none in between
        assert np.abs(image[..., 0].astype(int) - 60 * mask.astype(int)).mean() < 12


def test_masks_of_every_kind_are_read_by_number(folder):
    kinds = {
        "gray": Image.fromarray(MASK),
        "palette": palette(MASK),
        "wide": Image.fromarray(MASK.astype(np.uint16)),
    }
    for kind, image in kinds.items():
        image.save(folder / "train" / "masks" / "1.png")
        assert np.array_equal(load(folder).splits["train"].arrays["mask"][1], MASK), kind
    palette(MASK).save(folder / "train" / "masks" / "1.tiff")
    (folder / "train" / "masks" / "1.png").unlink()
    assert np.array_equal(load(folder).splits["train"].arrays["mask"][1], MASK)


@pytest.mark.parametrize(("bits", "row"), [(1, b"\x50"), (2, b"\x1b"), (4, b"\x01\x23")])
def test_gray_values_of_few_bits_are_class_numbers(bits, row):
    def chunk(kind, content):
        check = struct.pack(">I", zlib.crc32(kind + content))
        return struct.pack(">I", len(content)) + kind + content + check

    header = struct.pack(">IIBBBBB", 4, 1, bits, 0, 0, 0, 0)
    encoded = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header)
    encoded += chunk(b"IDAT", zlib.compress(b"\0" + row)) + chunk(b"IEND", b"")
    expected = [[0, 1, 0, 1]] if bits == 1 else [[0, 1, 2, 3]]
    assert decode_mask(encoded, Coding()).tolist() == expected


def test_masks_in_colours_need_a_table(folder):
    for path in folder.glob("*/masks/*.png"):
        save(path, in_colours(np.asarray(Image.open(path))))
    told = message(folder, validation="none")
    assert "train/masks/0.png cannot be read: it is an RGB image of 4 colours, expected" in told
    assert "list the colours in classes.txt, one line for each class" in told
    lines = ["road 0 0 0", "side walk 128 64 128", "tree 244 35 232", "ignore 255 255 255"]
    (folder / "classes.txt").write_text("\n".join(lines))
    dataset = load(folder)
    assert dataset.class_names == ("road", "side walk", "tree") and not dataset.notes
    assert np.array_equal(dataset.splits["train"].arrays["mask"][1], np.roll(MASK, 1, axis=1))
    (folder / "classes.txt").write_text("\n".join(lines[:-1]))
    assert (
        "0.png cannot be read: its pixel in row 0, column 3 has the colour (255, 255, 255), which"
        " classes.txt does not list" in message(folder)
    )


def test_masks_of_0_and_255_are_named(folder):
    for path in folder.glob("*/masks/*.png"):
        save(path, (np.asarray(Image.open(path)) == 1).astype(np.uint8) * 255)
    told = message(folder)
    assert "hold 0 and 255 only, and 255 stands for pixels of no class" in told
    (folder / "classes.txt").write_text("background\ncell\n")
    assert message(folder) == told
    (folder / "classes.txt").write_text("background 0 0 0\ncell 255 255 255\n")
    dataset = load(folder)
    assert dataset.splits["train"].arrays["mask"][0].tolist() == (MASK == 1).astype(int).tolist()
    (folder / "classes.txt").write_text("what is there\n")  # one class, and what does not count
    assert load(folder).class_names == ("what is there",)


@pytest.mark.parametrize(
    ("lines", "told"),
    [
        ("", "has 0 names of classes, expected 1 to 255"),
        ("a 1 2 3\nb", "has no colour in the line 'b', and others have one"),
        ("a 1 2 300", "the line 'a 1 2 300', expected a colour of its own with values 0 to 255"),
        ("a 1 2 3\nb 1 2 3", "the line 'b 1 2 3', expected a colour of its own"),
        ("\n".join(map(str, range(256))), "has 256 names of classes"),
        (b"\xff", "cannot be read: 'utf-8' codec"),
    ],
)
def test_a_wrong_table_of_classes_is_named(folder, lines, told):
    (folder / "classes.txt").write_bytes(lines if isinstance(lines, bytes) else lines.encode())
    assert told in message(folder)


def test_pascal_vocs_layout(tmp_path):
    root = tmp_path / "VOCdevkit" / "VOC2012"
    for number in range(4):
        save(root / "JPEGImages" / f"2007_{number}.jpg", IMAGE)
    (root / "SegmentationClass").mkdir()
    for number in range(3):  # the others are for detection
        palette(np.roll(MASK * (MASK != 2), number, axis=1)).save(
            root / "SegmentationClass" / f"2007_{number}.png"
        )
    lists = root / "ImageSets" / "Segmentation"
    lists.mkdir(parents=True)
    (lists / "train.txt").write_text("2007_2\n2007_0\n")
    (lists / "val.txt").write_text("2007_1\n")
    assert "give the path" in message(root.parent)
    dataset = load(root)
    assert dataset.class_names == VOC_CLASSES and len(dataset.class_names) == 21
    train = dataset.splits["train"].arrays
    assert np.array_equal(train["mask"][1], MASK * (MASK != 2))
    assert np.array_equal(train["mask"][0], np.roll(MASK * (MASK != 2), 2, axis=1))
    assert len(dataset.splits["validation"]) == 1 and not dataset.notes
    (root / "JPEGImages" / "notes.txt").write_text("")
    assert "that are not read: 1 (.txt 1)" in load(root).notes[0]
    (lists / "test.txt").write_text("2007_3\n")
    assert "holds no masks of the 1 images in" in message(root)
    assert load(root, test="none").splits.keys() == {"train", "validation"}
    (lists / "train.txt").write_text("2007_2\n2007_3\n")
    assert f"there is no mask {root}/SegmentationClass/2007_3.png" in message(root, test="none")
    (lists / "train.txt").write_text("2007_2\n2007_2\n")
    assert "train.txt lists 2007_2 more than once" in message(root, test="none")


def test_cityscapes_layout(tmp_path):
    ids = np.array([[0, 7, 8, 11], [1, 12, 13, 17], [33, 26, 29, 30]], np.uint8)
    for split, city in (("train", "aachen"), ("train", "bochum"), ("val", "munster")):
        name = f"{city}_000000_000019"
        save(tmp_path / "leftImg8bit" / split / city / f"{name}_leftImg8bit.png", IMAGE)
        fine = tmp_path / "gtFine" / split / city
        save(fine / f"{name}_gtFine_labelIds.png", ids)
        save(fine / f"{name}_gtFine_color.png", IMAGE)
        (fine / f"{name}_gtFine_polygons.json").write_text("{}")
    dataset = load(tmp_path)
    assert len(dataset.class_names) == 19 and not dataset.notes
    assert dataset.class_names[:3] == ("road", "sidewalk", "building")
    assert {role: len(split) for role, split in dataset.splits.items()} == {
        "train": 2,
        "validation": 1,
    }
    assert dataset.splits["train"].arrays["mask"][0].tolist() == [
        [IGNORED, 0, 1, 2],
        [IGNORED, 3, 4, 5],
        [18, 13, IGNORED, IGNORED],
    ]


def test_missing_and_doubled_partners_are_named(folder):
    train = folder / "train"
    (train / "masks" / "1.png").unlink()
    save(train / "masks" / "alone.png", MASK)
    save(train / "images" / "2.jpg", IMAGE)
    told = message(folder)
    assert "each image needs one mask of its name, add or remove files:" in told
    for part in (
        f"there is no mask {train}/masks/1.png",
        f"there is no image {train}/images/alone.jpg (or .png, …)",
        f"{train}/images/2.jpg and 2.png have one name",
    ):
        assert part in told
    shutil.rmtree(train / "masks")
    assert "train/masks holds no masks of the 3 images in" in message(folder)
    shutil.rmtree(train / "images")
    (train / "images").mkdir()
    assert "train/images holds no images: expected files with .avif" in message(folder)


def test_a_mask_of_another_size_and_a_class_too_many_are_named(folder):
    masks = folder / "train" / "masks"
    save(masks / "0.png", MASK.T)
    told = message(folder)
    assert f"the mask {masks}/0.png has 4x3 pixels (height x width) and its image" in told
    assert "0.png 3x4, expected the same" in told and "skip-unreadable" not in told
    (folder / "classes.txt").write_text("a\nb\n")
    save(masks / "0.png", MASK * (MASK != 2))
    told = message(folder)
    assert "2 examples cannot be used" in told
    assert f"the mask {masks}/2.png has the class 2 in row 0, column 0, expected 0 to 1" in told


def test_masks_that_cannot_be_read_are_named_or_left_out(folder):
    masks = folder / "train" / "masks"
    (masks / "0.png").write_bytes(b"not an image")
    (masks / "1.png").write_bytes(png(MASK[..., None])[:50])
    told = message(folder)
    assert f"the mask {masks}/0.png cannot be read: its content is not an image" in told
    assert f"the mask {masks}/1.png cannot be read: " in told
    assert told.endswith("or leave them out with --data.skip-unreadable")
    dataset = load(folder, skip_unreadable=True)
    assert len(dataset.splits["train"]) == 1 and "2 files are left out" in dataset.notes[-1]
    Image.fromarray(MASK).save(masks / "2.png", "jpeg")
    assert "2.png cannot be read: it is a JPEG, which changes values" in message(folder)
    assert "no file can be read in" in message(folder, skip_unreadable=True)


def test_images_of_one_pixel(tmp_path):
    for number in range(2):
        save(tmp_path / "images" / f"{number}.png", IMAGE[:1, :1])
        save(tmp_path / "masks" / f"{number}.png", MASK[:1, 1:2])
    dataset = load(tmp_path, validation="none")
    assert dataset.splits["train"].arrays["mask"].tolist() == [[[1]], [[1]]]
    assert load(tmp_path, image_size=4, validation="none").spec["mask"].shape == (4, 4)
