import pytest

from cnn_jax.data import DataError
from cnn_jax.data.labelled_texts import LabelledTextsConfig, load_labelled_texts
from tests.data.conftest import write_tfds_texts

ROWS = [("Good film, good cast", "yes"), ("bad", "no"), ("a good one", "yes"), ("bad plot", "no")]


def write(path, rows=ROWS, separator=","):
    lines = [f'{label}{separator}"{text}"' for text, label in rows]
    path.write_text("\n".join([f"label{separator}text", *lines]))
    return LabelledTextsConfig(name=str(path), length=3, least_count=1, validation=0.5)


@pytest.mark.parametrize(("name", "separator"), [("t.csv", ","), ("t.tsv", "\t")])
def test_a_table(tmp_path, name, separator):
    dataset, words = load_labelled_texts(write(tmp_path / name, separator=separator))
    assert dataset.class_names == ("no", "yes") and words[0] == "\ufffd"
    assert {role: len(split) for role, split in dataset.splits.items()} == {
        "train": 2,
        "validation": 2,
    }
    texts = {text.lower().replace(",", ""): label for text, label in ROWS}
    for example in (dataset.splits["train"][place] for place in range(2)):
        tokens = [token for token in example["tokens"] if token >= 0]
        text = " ".join(words[token] for token in tokens)
        (label,) = (label for whole, label in texts.items() if whole.startswith(text))
        assert dataset.class_names[example["label"]] == label
        assert (example["tokens"][len(tokens) :] == -1).all()


def test_unknown_words_and_texts_without_words(tmp_path):
    config = write(tmp_path / "t.csv", [("!!!", "a"), ("x", "b")] * 4)
    dataset, words = load_labelled_texts(config)
    assert set(words) == {"\ufffd", "x"}
    rows = [
        split["tokens"].tolist() for split in map(dataset.splits["train"].__getitem__, range(4))
    ]
    assert {tuple(row) for row in rows} == {(0, -1, -1), (1, -1, -1)}


def test_the_texts_of_a_tfds_data_set(tmp_path):
    texts = {"train": [(text, label == "yes") for text, label in ROWS * 2], "test": [("good", 1)]}
    texts["train"] = [(text, int(label)) for text, label in texts["train"]]
    write_tfds_texts(tmp_path, "reviews", texts, ("no", "yes"))
    config = LabelledTextsConfig(name="reviews", dir=str(tmp_path), validation=0.25)
    dataset, words = load_labelled_texts(config)
    assert {role: len(split) for role, split in dataset.splits.items()} == {
        "train": 6,
        "validation": 2,
        "test": 1,
    }
    assert words[dataset.splits["test"][0]["tokens"][0]] == "good"


def test_chapters_of_python_s_documentation():
    dataset, words = load_labelled_texts(LabelledTextsConfig())
    assert dataset.num_classes == 6 and "the" in words[:5]
    assert len(dataset.splits["train"]) > 300


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("t.txt", "label,text\n", "is no table: expected a name that ends in .csv or .tsv"),
        ("t.csv", "a,b\n1,2\n", "needs the columns label and text in its first line, got a, b"),
        ("t.csv", "label,text\nx\n", "line 2: expected a label and a text"),
        ("t.csv", "label,text\nx,y\n", "has 1 class, x: expected 2 or more"),
        ("t.csv", "", "is empty"),
    ],
)
def test_tables_that_are_refused(tmp_path, name, content, message):
    (tmp_path / name).write_text(content)
    with pytest.raises(DataError, match=message):
        load_labelled_texts(LabelledTextsConfig(name=str(tmp_path / name)))
    with pytest.raises(DataError, match="there is no table nothing, and no TFDS data set"):
        load_labelled_texts(LabelledTextsConfig(name="nothing", dir=str(tmp_path)))
