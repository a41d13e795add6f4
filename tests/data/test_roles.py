import numpy as np
import pytest

from cnn_jax.data import DataError
from cnn_jax.data.roles import choose_splits, shared_examples

SIZES = {"train": 50_000, "test": 10_000}


def chosen(sizes=SIZES, **options):
    """The roles, with ranges in place of arrays that are ranges, and the notes."""
    roles, notes = choose_splits(sizes, **options)

    def shown(places):
        first, last = int(places[0]), int(places[-1]) + 1
        return range(first, last) if np.array_equal(places, np.arange(first, last)) else places

    return {
        role: {split: shown(places) for split, places in parts} for role, parts in roles.items()
    }, notes


def test_shared_examples():
    one = (("train", np.arange(30_000)), ("test", np.arange(10_000)))
    assert shared_examples(one, (("train", np.arange(25_000, 50_000)),)) == 5_000
    assert shared_examples(one, (("test", np.arange(7)),)) == 7


def test_a_random_tenth_of_train_validates_by_default():
    roles, notes = chosen()
    train, validation = roles["train"]["train"], roles["validation"]["train"]
    assert (len(train), len(validation)) == (45_000, 5_000) and not notes
    assert np.array_equal(np.sort(np.concatenate([train, validation])), np.arange(50_000))
    # Spread over the whole file, in random order, and always the same.
    assert np.all(np.abs(np.histogram(validation, 10, (0, 50_000))[0] - 500) < 100)
    assert not np.array_equal(validation, np.sort(validation))
    assert np.array_equal(chosen()[0]["validation"]["train"], validation)
    assert roles["test"] == {"test": range(10_000)}


def test_the_tenth_has_the_classes_of_train():
    labels = np.repeat([0, 1, 2, 3], [12, 12, 60, 1])  # sorted by class
    roles, _ = chosen({"train": 85}, labels=labels)
    assert len(roles["validation"]["train"]) == 8
    counts = np.bincount(labels[roles["validation"]["train"]], minlength=4)
    assert np.all(counts[:3] >= [1, 1, 5]) and counts[3] == 0
    roles, _ = chosen({"train": 24}, labels=np.repeat([0, 1], 12))
    assert sorted(roles["validation"]["train"] // 12) == [0, 1]


def test_an_explicit_train_keeps_its_order_and_validation_is_drawn_from_the_rest():
    labels = np.arange(100) // 50
    roles, _ = chosen({"train": 100}, train="train[:40]", labels=labels)
    assert roles["train"] == {"train": range(40)}
    validation = roles["validation"]["train"]
    assert len(validation) == 10 and validation.min() >= 40
    roles, _ = chosen({"train": 100}, train="train[:90%]", labels=labels)
    assert sorted(roles["validation"]["train"]) == list(range(90, 100))


def test_own_validation_is_used_and_train_left_whole():
    for name in ("validation", "val"):
        roles, _ = chosen({"train": 100, name: 10})
        assert roles == {"train": {"train": range(100)}, "validation": {name: range(10)}}


def test_defaults_of_the_data_set_replace_the_usual_ones():
    roles, notes = chosen(
        {"train": 45_000, "test": 5_000}, defaults={"validation": "test", "test": "none"}
    )
    assert roles == {"train": {"train": range(45_000)}, "validation": {"test": range(5_000)}}
    assert not notes


def test_explicit_choices_stand():
    roles, _ = chosen(train="train[:10]", validation="train[10:20]", test="none")
    assert roles == {"train": {"train": range(10)}, "validation": {"train": range(10, 20)}}
    roles, _ = chosen(validation="none")
    assert roles == {"train": {"train": range(50_000)}, "test": {"test": range(10_000)}}
    roles, _ = chosen(validation="train[-10%:]")
    assert roles["train"] == {"train": range(45_000)}
    roles, _ = chosen(validation="train[:10%]", test="train[-10%:]")
    assert roles["train"] == {"train": range(5_000, 45_000)}


def test_overlaps():
    with pytest.raises(
        DataError, match=r"train='train' leave 0 examples .*: set both --data.train and"
    ):
        chosen(train="train")
    with pytest.raises(
        DataError, match=r"validation='val' share 5 examples: set both --data.train"
    ):
        chosen({"train": 20, "val": 5}, train="val")
    with pytest.raises(DataError, match="validation='train' take all examples of 'train'"):
        chosen(validation="train")
    roles, notes = chosen(train="train", validation="test")
    assert roles == {"train": {"train": range(50_000)}, "validation": {"test": range(10_000)}}
    assert notes == ("no test split: its examples are used for validation",)
    _, notes = chosen(train="train", validation="train[:10%]")
    assert notes == ("train and validation share 5,000 examples",)
    with pytest.raises(DataError, match="share 5,000"):
        chosen(
            {"train": 45_000, "test": 5_000}, train="train+test", defaults={"validation": "test"}
        )


def test_no_train():
    with pytest.raises(DataError, match=r"no split named 'train', only full \(10\): choose one"):
        chosen({"full": 10})
    with pytest.raises(DataError, match="nothing to train on"):
        chosen(train="none")
    roles, _ = chosen({"full": 10}, train="full[:5]", validation="full[5:]")
    assert roles == {"train": {"full": range(5)}, "validation": {"full": range(5, 10)}}


def test_one_role_needs_no_other():
    assert chosen({"val": 10}, only=["validation"])[0] == {"validation": {"val": range(10)}}
    assert chosen({"test": 10}, only=["test"])[0] == {"test": {"test": range(10)}}
    assert chosen(only=["train"])[0].keys() == {"train"}
    assert len(chosen(only=["validation"])[0]["validation"]["train"]) == 5_000
    order = ["validation", "test", "train"]
    assert chosen({"test": 10, "train": 5}, only=order)[0] == {"test": {"test": range(10)}}
    assert chosen({"val": 10}, only=order, unusable={"test": ""})[0].keys() == {"validation"}
    with pytest.raises(DataError, match="test is empty"):
        chosen({"train": 9}, only=["test"], unusable={"test": "test is empty"})
    with pytest.raises(DataError, match=r"no split for validation, only test \(10\): choose"):
        chosen({"test": 10}, only=["validation"])


def test_what_cannot_be_used_is_an_error_only_if_it_is_used():
    wrong = {"val": "val is empty"}
    with pytest.raises(DataError, match="val is empty"):
        chosen(unusable=wrong)
    with pytest.raises(DataError, match="val is empty"):
        chosen(unusable=wrong, train="train+val[:3]", validation="none")
    assert chosen(unusable=wrong, validation="none")[0].keys() == {"train", "test"}
    assert len(chosen(unusable=wrong, validation="train[-10%:]")[0]["validation"]["train"]) == 5_000
    assert chosen(unusable=wrong, only=["test"])[0] == {"test": {"test": range(10_000)}}
    assert chosen(unusable=wrong, only=["train"])[0] == {"train": {"train": range(50_000)}}
