import gzip

import pytest

from cnn_jax.data import DataError
from cnn_jax.data.tfds_texts import read_tfds_texts
from cnn_jax.data.words import BREAK, WordsConfig, load_words, split_words, word_counts
from tests.data.conftest import write_tfds_texts

TEXT = "The cat sat.\nThe cat, the mat!\n\nDon't sit\n"


def load(path, text=TEXT, **options):
    if path.suffix == ".gz":
        path.write_bytes(gzip.compress(text.encode()))
    else:
        path.write_text(text)
    options = {"least_count": 1, "validation": 0, "stretch": 4} | options
    return load_words(WordsConfig(name=str(path), **options))


def sentences(dataset, split="train"):
    """The words of each sentence."""
    found = [[]]
    for token in dataset.splits[split].tokens:
        found = [*found, []] if token == BREAK else [*found[:-1], [*found[-1], token]]
    return [" ".join(dataset.class_names[token] for token in one) for one in found if one]


@pytest.mark.parametrize("name", ["text.txt", "text.txt.gz"])
def test_words_of_lines_frequent_ones_first(tmp_path, name):
    dataset = load(tmp_path / name)
    assert dataset.class_names == ("the", "cat", "sat", "mat", "don't", "sit")
    assert word_counts(dataset).tolist() == [3, 2, 1, 1, 1, 1]
    assert sentences(dataset) == ["the cat sat", "the cat the mat", "don't sit"]
    split = dataset.splits["train"]
    assert len(split) == 3 and not split.contiguous
    assert split[2]["tokens"].tolist() == [BREAK, 4, 5, BREAK]


def test_rare_words_are_left_out_and_phrases_are_words(tmp_path):
    assert sentences(load(tmp_path / "t", least_count=2)) == ["the cat", "the cat the"]
    text = "new york is new\n" * 5 + "york or old\n" + "a b c d e f g\n" * 9
    options = {"phrase_threshold": 2.0, "least_count": 1}
    dataset = load(tmp_path / "t", text, phrases=1, **options)
    assert sentences(dataset)[0] == "new_york is_new"
    assert sentences(dataset)[-1] == "a_b c_d e_f g"
    assert sentences(load(tmp_path / "t", text, phrases=2, **options))[-1] == "a_b_c_d e_f_g"
    # A word that is written as a phrase is the same word.
    dataset = load(
        tmp_path / "t",
        "a\n" + "new york\n" * 9 + "new_york\n",
        phrases=1,
        least_count=1,
        phrase_threshold=1.5,
    )
    assert sentences(dataset) == ["a"] + ["new_york"] * 10


def test_paragraphs_and_the_validation_text(tmp_path):
    dataset = load(tmp_path / "t", sentences="paragraphs")
    assert sentences(dataset) == ["the cat sat the cat the mat", "don't sit"]
    dataset = load(tmp_path / "t", "a b a b\n" * 10, validation=0.2)
    assert sentences(dataset) == ["a b a b"] * 8
    assert sentences(dataset, "validation") == ["a b a b"] * 2


def test_words():
    assert split_words("Don\u2019t 'quote' __init__ x-ray 3.5 naïve") == [
        *("don\u2019t", "quote", "__init__", "x", "ray", "3", "5", "naïve")
    ]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "is empty"),
        (b"one one one\n", "1 different words, and a vocabulary of at least 2.*only 'one' occurs"),
        (b"!!!\n", "0 different words"),
        (b"ab\ncd \xff ef", "no text in UTF-8: byte 0xff at position 6, line 2"),
    ],
)
def test_texts_that_are_refused(tmp_path, content, message):
    (tmp_path / "bad.txt").write_bytes(content)
    with pytest.raises(DataError, match=message):
        load_words(WordsConfig(name=str(tmp_path / "bad.txt"), least_count=1))


def test_a_name_that_is_neither_a_file_nor_a_data_set(tmp_path):
    with pytest.raises(DataError, match="there is no text file reviews, and no TFDS data set"):
        load_words(WordsConfig(name="reviews", dir=str(tmp_path)))


def test_the_texts_of_a_tfds_data_set(tmp_path):
    texts = {"train": [("The cat sat", 0), ("the Mat", 1)], "test": [("a test", 0)]}
    write_tfds_texts(tmp_path, "reviews", texts, ("no", "yes"))
    stored = read_tfds_texts("reviews", str(tmp_path))
    assert stored.class_names == ("no", "yes")
    for split, pairs in texts.items():
        found = zip(stored.texts[split], stored.labels[split].tolist(), strict=True)
        assert sorted(found) == sorted(pairs)
    dataset = load_words(
        WordsConfig(name="reviews", dir=str(tmp_path), least_count=1, validation=0)
    )
    assert set(sentences(dataset)) == {"the cat sat", "the mat"}
    assert dataset.title == "reviews, train"
    with pytest.raises(DataError, match="nothing is not prepared in .*; there are: reviews"):
        read_tfds_texts("nothing", str(tmp_path))
