"""Captions as tokens: the vocabulary, padding, and what is refused."""

import numpy as np
import pytest

from cnn_jax.data import ArraySplit, DataError, scene_captions
from cnn_jax.data import captions as module
from cnn_jax.data.captions import (
    BEGIN,
    END,
    CaptionsConfig,
    caption_tokens,
    join_words,
    load_captions,
)
from cnn_jax.data.dataset import Stored
from cnn_jax.data.scenes import described_scene
from cnn_jax.data.text import UNKNOWN

SMALL = {
    "image_size": 16,
    "train": "train[:40]",
    "validation": "validation[:5]",
    "test": "test[:6]",
}
NAMES = (BEGIN, END, "a", "dog", "cat", "runs")


def test_scenes_as_a_data_set(monkeypatch):
    monkeypatch.setattr(scene_captions, "SIZES", {"train": 80, "validation": 9, "test": 9})
    dataset = load_captions(CaptionsConfig(**SMALL))
    assert dataset.title == "scenes of shapes 16x16 with captions"
    assert dataset.class_names[:3] == (BEGIN, END, "a") and dataset.num_classes == 22
    assert {role: len(split) for role, split in dataset.splits.items()} == {
        "train": 40,
        "validation": 5,
        "test": 6,
    }
    # "there is a large red circle left of a small blue square", and what stands around it.
    assert dataset.spec["tokens"].shape == (5, 12 + 2)
    for number, (role, split) in enumerate(dataset.splits.items()):
        for index in (0, 3):
            example, shapes = described_scene((number, index), 16, scene_captions.MOST)
            stored = dataset.splits[role][index]
            assert set(stored) == {"image", "tokens"}
            np.testing.assert_array_equal(stored["image"], example["image"])
            texts = [join_words(row, dataset.class_names) for row in stored["tokens"]]
            assert texts == scene_captions.scene_captions(shapes, 16)
        assert split.spec == dataset.spec
    stream = load_captions(CaptionsConfig(**SMALL, storage="stream"))
    assert all(
        np.array_equal(stream.splits["train"][7][name], dataset.splits["train"][7][name])
        for name in dataset.spec
    )


def test_tokens_worked_out_by_hand():
    captions = [["A dog runs.", "a cat"], ["cat"]]
    tokens = caption_tokens(captions, NAMES, most_captions=2, most_words=4)
    assert tokens.tolist() == [
        [[0, 2, 3, 5, 1, -1], [0, 2, 4, 1, -1, -1]],
        [[0, 4, 1, -1, -1, -1], [-1] * 6],
    ]
    assert join_words(tokens[0, 0], NAMES) == "a dog runs" and join_words(tokens[1, 1], NAMES) == ""
    known = caption_tokens([["a bird"]], (*NAMES, UNKNOWN), most_captions=1, most_words=2)
    assert known.tolist() == [[[0, 2, 6, 1]]]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "a caption has no words: '';"),
        (" ?! ", r"a caption has no words: ' \?! '; write some, or remove it"),
        ("a dog runs", "'a dog runs' has 3 words, and 2 fit: set --data.most-words to 3 or more"),
        ("a bird", "not in the vocabulary: 'bird'"),
    ],
)
def test_captions_that_are_refused(text, message):
    with pytest.raises(DataError, match=message):
        caption_tokens([["a dog"], [text]], NAMES, most_captions=1, most_words=2)


def of_texts(monkeypatch, texts, **options):
    """A data set of black images with the given captions."""
    splits = {
        split: ArraySplit({"image": np.zeros((len(of), 2, 2, 3), np.uint8)})
        for split, of in texts.items()
    }
    stored = Stored("own", "Own", splits, ())
    monkeypatch.setattr(module, "open_captioned_shapes", lambda size: (stored, texts))
    return load_captions(CaptionsConfig(**options))


def test_the_vocabulary_is_that_of_the_training_captions(monkeypatch):
    texts = {"train": [["a dog", "a dog runs"], ["a cat"]], "validation": [["a cow"]]}
    dataset = of_texts(monkeypatch, texts)
    assert dataset.class_names == (BEGIN, END, "a", "dog", "runs", "cat", UNKNOWN)
    assert dataset.splits["validation"][0]["tokens"].tolist() == [[0, 2, 6, 1, -1], [-1] * 5]
    dataset = of_texts(monkeypatch, texts, least_count=2)
    assert dataset.class_names == (BEGIN, END, "a", "dog", UNKNOWN)
    with pytest.raises(DataError, match="'a dog runs' has 3 words, and 2 fit"):
        of_texts(monkeypatch, texts, most_words=2)
    assert of_texts(monkeypatch, texts, most_words=9).spec["tokens"].shape == (2, 11)
    known = {"train": texts["train"]}
    assert UNKNOWN not in of_texts(monkeypatch, known, validation="none").class_names
