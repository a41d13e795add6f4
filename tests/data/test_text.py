"""Texts as windows of tokens, and texts that cannot be used."""

import gzip
import os

import numpy as np
import pytest

from cnn_jax.data import DataError
from cnn_jax.data.text import (
    PADDING,
    UNKNOWN,
    TextConfig,
    encode,
    join_text,
    load_text,
    read_text,
    split_text,
    vocabulary,
)

TEXT = "the cat sat on the mat\nand the dog sat on the log.\n" * 3


@pytest.fixture
def path(tmp_path):
    file = tmp_path / "text.txt"
    file.write_text(TEXT, encoding="utf-8")
    return file


@pytest.mark.parametrize("batch_size", [1, 3])
def test_every_token_of_the_validation_text_but_the_first_is_once_a_target(path, batch_size):
    dataset = load_text(TextConfig(name=str(path), window=7, validation=0.4))
    split = dataset.splits["validation"]
    first = round(0.6 * len(TEXT))
    order = split.evaluation_order(batch_size).reshape(-1, batch_size)
    for row in order.T:
        row = row[row >= 0]
        assert np.array_equal(row, np.arange(row[0], row[0] + len(row)))
    windows = np.stack([split[place]["tokens"] for place in sorted(order[order >= 0].tolist())])
    targets = windows[:, 1:].ravel()
    text = "".join(dataset.class_names[token] for token in targets if token != PADDING)
    assert text == TEXT[first + 1 :]
    assert (
        "".join(dataset.class_names[token] for token in windows[:, 0])
        == TEXT[first:][::7][: len(windows)]
    )
    assert sorted(set(TEXT[:first])) == list(dataset.class_names)


def test_words_are_counted_and_rare_ones_unknown(path):
    config = TextConfig(name=str(path), unit="word", least_count=3, window=4, validation=0.34)
    dataset = load_text(config)
    assert UNKNOWN in dataset.class_names and "the" in dataset.class_names
    assert "cat" not in dataset.class_names  # twice in the training text
    symbols = split_text("The cat sat.\n\nOn, 2 mats!", "word")
    assert symbols == ["the", "cat", "sat", ".", "\n", "\n", "on", ",", "2", "mats", "!"]
    assert join_text(symbols, "word") == "the cat sat .\n\non , 2 mats !"
    assert vocabulary(["b", "a", "b"], 2) == ("b",)
    assert encode(["x", "the"], dataset.class_names)[0] == dataset.class_names.index(UNKNOWN)
    with pytest.raises(DataError, match="not in the vocabulary: 'x'"):
        encode(["x"], ("a", "b"))


def test_compressed_with_a_mark_and_lines_of_windows(tmp_path):
    path = tmp_path / "text.txt.gz"
    path.write_bytes(gzip.compress(b"\xef\xbb\xbfone\r\ntwo"))
    assert read_text(path) == "one\ntwo"


def test_python_s_documentation_is_there():
    dataset = load_text(TextConfig())
    assert dataset.title == "Python's documentation"
    assert len(dataset.splits["train"]) > 3000 and 80 < len(dataset.class_names) < 300


@pytest.mark.parametrize(
    ("content", "options", "message"),
    [
        (b"", {}, "is empty"),
        (b" \n ", {}, "is empty"),
        (b"one\ntwo \xff", {}, "byte 0xff at position 8, line 2; convert it"),
        (TEXT.encode(), {"window": 100}, "92 of them for train, and a window .* take 101"),
        (b"a" * 900, {"window": 5}, "a vocabulary of 1 character, 'a': there is nothing"),
        (b"a b c d " * 20, {"unit": "word", "least_count": 99, "window": 5}, "vocabulary of 1"),
    ],
)
def test_a_text_that_cannot_be_used_is_named(tmp_path, content, options, message):
    path = tmp_path / "bad.txt"
    path.write_bytes(content)
    with pytest.raises(DataError, match=message):
        load_text(TextConfig(name=str(path), **{"validation": 0.4} | options))


def test_files_that_are_none(tmp_path):
    with pytest.raises(DataError, match="cannot read the text .*missing.txt"):
        read_text(tmp_path / "missing.txt")
    with pytest.raises(DataError, match="is no regular file"):
        read_text(tmp_path)
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(DataError, match="is no regular file"):
        read_text(tmp_path / "pipe")
    (tmp_path / "cut.gz").write_bytes(gzip.compress(TEXT.encode())[:30])
    with pytest.raises(DataError, match="cannot read the text .*cut.gz"):
        read_text(tmp_path / "cut.gz")
