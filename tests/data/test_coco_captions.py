"""Folders with COCO's captions."""

import json

import numpy as np
import pytest
from PIL import Image

from cnn_jax.data import DataError
from cnn_jax.data.captions import CaptionsConfig, join_words, load_captions

CAPTIONS = {1: ["A dog runs.", "a brown dog"], 2: ["a cat"], 7: ["a dog and a cat", "two animals"]}


def write(folder, split, captions=CAPTIONS, size=(12, 8)):
    """The images and the file of a split; an image is one colour, its id."""
    (folder / split).mkdir(parents=True)
    (folder / "annotations").mkdir(exist_ok=True)
    for number in captions:
        Image.new("RGB", size, (number, 0, 0)).save(folder / split / f"{number}.png")
    content = {
        "images": [{"id": number, "file_name": f"{number}.png"} for number in captions],
        "annotations": [
            {"id": 10 * number + place, "image_id": number, "caption": text}
            for number, texts in captions.items()
            for place, text in enumerate(texts)
        ],
    }
    path = folder / "annotations" / f"captions_{split}.json"
    path.write_text(json.dumps(content))
    return path


def config(folder, **options):
    return CaptionsConfig(**{"name": str(folder), "image_size": 6, "test": "none"} | options)


def test_images_with_their_captions(tmp_path):
    write(tmp_path, "train2017")
    write(tmp_path, "val2017", {5: ["A Cow", "a dog"]}, size=(7, 9))
    # Annotations of objects beside them are of no concern.
    (tmp_path / "annotations" / "instances_train2017.json").write_text("{}")
    dataset = load_captions(config(tmp_path))
    assert dataset.title == tmp_path.name
    assert dataset.spec["image"].shape == (6, 6, 3) and dataset.spec["tokens"].shape == (2, 7)
    found = {}
    for split in dataset.splits.values():
        for index in range(len(split)):
            example = split[index]
            texts = [join_words(row, dataset.class_names) for row in example["tokens"]]
            found[int(example["image"][0, 0, 0])] = [text for text in texts if text]
    expected = {
        number: [text.lower().rstrip(".") for text in texts] for number, texts in CAPTIONS.items()
    }
    assert found == expected | {5: ["a \ufffd", "a dog"]}
    stream = load_captions(config(tmp_path, storage="stream"))
    for name in dataset.spec:
        np.testing.assert_array_equal(
            stream.splits["validation"][0][name], dataset.splits["validation"][0][name]
        )


def test_a_tenth_is_held_out_where_there_is_one_file(tmp_path):
    captions = {number: ["a dog"] for number in range(30)}
    write(tmp_path, "images", captions)
    (tmp_path / "annotations" / "captions_images.json").rename(tmp_path / "annotations.json")
    dataset = load_captions(config(tmp_path))
    assert {role: len(split) for role, split in dataset.splits.items()} == {
        "train": 27,
        "validation": 3,
    }


def changed(path, key, value):
    content = json.loads(path.read_text())
    content["annotations"][0][key] = value
    path.write_text(json.dumps(content))


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("caption", "", r"a caption has no words: ''"),
        ("caption", 3, "annotation 10 has caption = 3, expected a text"),
        ("image_id", 9, "annotation 10 is of the image 9, which the file does not list"),
        ("image_id", 2, r"has 1 images without a caption, write one or remove them:\n .*1.png"),
    ],
)
def test_captions_that_are_refused(tmp_path, key, value, message):
    path = write(tmp_path, "train", {1: ["a dog"], 2: ["a cat"]})
    changed(path, key, value)
    with pytest.raises(DataError, match=message):
        load_captions(config(tmp_path, validation="none"))


def test_a_broken_split_is_an_error_if_it_is_used(tmp_path):
    write(tmp_path, "train")
    (tmp_path / "annotations" / "captions_val.json").write_text("[]")
    assert set(load_captions(config(tmp_path, validation="none")).splits) == {"train"}
    with pytest.raises(DataError, match="captions_val.json has .*--data.validation none"):
        load_captions(config(tmp_path))


def test_images_that_cannot_be_read_are_left_out_with_their_captions(tmp_path):
    write(tmp_path, "train")
    (tmp_path / "train" / "1.png").write_text("no image")
    with pytest.raises(DataError, match="1.png cannot be read(?s:.*)out with --data.skip-unread"):
        load_captions(config(tmp_path, validation="none"))
    dataset = load_captions(config(tmp_path, validation="none", skip_unreadable=True))
    assert "1 files are left out" in dataset.notes[0]
    split = dataset.splits["train"]
    texts = [join_words(split[index]["tokens"][0], dataset.class_names) for index in (0, 1)]
    assert len(split) == 2 and texts == [CAPTIONS[2][0], CAPTIONS[7][0]]


def test_folders_without_captions(tmp_path):
    for name in (tmp_path, tmp_path / "nowhere"):
        with pytest.raises(DataError, match="there is no folder .* with captions: expected one w"):
            load_captions(config(name))
    write(tmp_path, "train")
    Image.new("RGB", (5, 5)).save(tmp_path / "train" / "2.png")
    with pytest.raises(DataError, match="one size for all images with --data.image-size"):
        load_captions(config(tmp_path, image_size=0, validation="none"))
