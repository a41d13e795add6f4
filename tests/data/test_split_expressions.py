import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from cnn_jax.data import DataError
from cnn_jax.data.split_expressions import parse_split

SIZES = {"train": 50_000, "test": 10_000}


@pytest.mark.parametrize(
    ("expression", "expected"),
    [
        ("train", [("train", 0, 50_000)]),
        ("train[:90%]", [("train", 0, 45_000)]),
        ("train[90%:]", [("train", 45_000, 50_000)]),
        ("train[45000:]", [("train", 45_000, 50_000)]),
        ("train[-10%:]", [("train", 45_000, 50_000)]),
        ("train[:-100]", [("train", 0, 49_900)]),
        ("train[10:20]+test", [("train", 10, 20), ("test", 0, 10_000)]),
        ("train[:99999999]", [("train", 0, 50_000)]),
    ],
)
def test_expressions(expression, expected):
    assert parse_split(expression, SIZES) == tuple(expected)


@settings(deadline=None)
@given(st.integers(1, 997), st.integers(0, 100), st.integers(0, 100), st.booleans())
def test_ranges_are_those_of_tfds(size, start, stop, percent):
    tfds = pytest.importorskip("tensorflow_datasets")
    unit = "%" if percent else ""
    expression = f"train[{start}{unit}:{stop}{unit}]"
    assume(percent or max(start, stop) <= size)  # TFDS refuses what we cut to the end
    info = tfds.core.SplitInfo(name="train", shard_lengths=[size], num_bytes=1)
    try:
        instructions = tfds.core.SplitDict([info])[expression].file_instructions
    except ValueError:
        assume(stop == 0)  # TFDS reads 0 as if it were left out
        return
    expected = [(one.skip, one.skip + one.examples_in_shard) for one in instructions]
    try:
        actual = [(first, last) for _, first, last in parse_split(expression, {"train": size})]
    except DataError:
        actual = []
    assert actual == [(first, last) for first, last in expected if last > first]


def test_errors_name_what_there_is():
    with pytest.raises(DataError, match=r"unknown split 'tran' \(did you mean 'train'\?\)"):
        parse_split("tran", SIZES)
    with pytest.raises(DataError, match=r"there are train \(50,000\), test \(10,000\)"):
        parse_split("dev", SIZES)
    with pytest.raises(DataError, match=r"cannot parse the split 'train\[1\]'"):
        parse_split("train[1]", SIZES)
    with pytest.raises(DataError, match=r"cannot parse the split 'train\[10:20%\]'"):
        parse_split("train[10:20%]", SIZES)
    with pytest.raises(DataError, match=r"'train\[90:80\]' is empty"):
        parse_split("train[90:80]", SIZES)
