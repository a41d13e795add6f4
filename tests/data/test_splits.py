import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cnn_jax.data import ArraySplit, DataError, StreamSplit, WindowSplit, epoch_order

TOKENS = np.arange(103, dtype=np.uint16)


def rows(n=11):
    labels = np.arange(n, dtype=np.int32)
    return ArraySplit({"image": np.full((n, 2, 3, 1), 7, np.uint8), "label": labels})


def take(split, places):
    """A batch, taken inside of a compiled function."""
    return jax.jit(split.take)(split.arrays, jnp.asarray(places))


def every_split(n):
    """Splits of n examples: rows, windows in both orders, and a stream."""
    array = rows(n)
    return {
        "rows": array,
        "contiguous": WindowSplit(np.arange(4 * n), 4),
        "shuffled": WindowSplit(np.arange(n + 3), 4, stride=1, contiguous=False),
        "stream": StreamSplit(array, np.arange(n)),
    }


def test_the_spec_says_shape_and_dtype_of_one_example():
    spec = rows().spec
    assert {name: (one.shape, one.dtype.name) for name, one in spec.items()} == {
        "image": ((2, 3, 1), "uint8"),
        "label": ((), "int32"),
    }
    assert StreamSplit(rows(), np.arange(3)).spec == spec
    window = WindowSplit(TOKENS, 5).spec["tokens"]
    assert (window.shape, window.dtype) == ((5,), np.int32)
    # JAX shortens 64 bits.
    assert ArraySplit({"label": np.zeros(3)}).spec["label"].dtype == np.float32


def test_a_batch_is_taken_inside_of_a_compiled_step():
    places = [4, 0, 4]
    batch = take(rows(), places)
    assert batch["label"].tolist() == [4, 0, 4] and batch["image"].shape == (3, 2, 3, 1)
    windows = WindowSplit(TOKENS, 5, stride=2)
    batch = take(windows, places)
    assert batch["tokens"].dtype == jnp.int32
    expected = [windows[place]["tokens"] for place in places]
    np.testing.assert_array_equal(batch["tokens"], np.stack(expected))
    assert expected[0].tolist() == [8, 9, 10, 11, 12]


@given(n=st.integers(1, 60), batch_size=st.integers(1, 20))
@settings(deadline=None, max_examples=50)
def test_an_evaluation_covers_every_place_once(n, batch_size):
    for split in every_split(n).values():
        assert len(split) == n
        order = split.evaluation_order(batch_size)
        assert order.dtype == np.int32 and len(order) == -(-n // batch_size) * batch_size
        assert np.array_equal(np.sort(order[order >= 0]), np.arange(n))
        assert np.all(order[order < 0] == -1)


@given(n=st.integers(1, 60), batch_size=st.integers(1, 20))
@settings(deadline=None, max_examples=50)
def test_an_epoch_visits_whole_batches_of_different_places(n, batch_size):
    for name, split in every_split(n).items():
        order = split.order(3, 5, batch_size)
        assert len(order) == split.steps_per_epoch(batch_size) * batch_size <= n
        assert len(set(order.tolist())) == len(order) and order.dtype == np.int32
        assert set(order.tolist()) <= set(range(n))
        assert split.contiguous == (name == "contiguous")
        if not split.contiguous:
            assert np.array_equal(order, epoch_order(3, 5, n)[: len(order)])


def test_contiguous_rows_go_on_where_the_batch_before_ended():
    split = WindowSplit(TOKENS, 4)
    assert len(split) == 25
    places = split.order(0, 0, 3).reshape(8, 3)
    tokens = np.asarray(take(split, places.reshape(-1))["tokens"])
    walks = tokens.reshape(8, 3, 4).transpose(1, 0, 2).reshape(3, 32)
    # Each row walks through its own third of the sequence; one window is left over.
    np.testing.assert_array_equal(walks, np.arange(96).reshape(3, 32))
    assert np.array_equal(split.order(1, 7, 3), split.order(0, 0, 3))
    evaluation = split.evaluation_order(3).reshape(9, 3).T
    assert evaluation.tolist() == [
        list(range(9)),
        list(range(9, 18)),
        [*range(18, 25), -1, -1],
    ]


@pytest.mark.parametrize("stride", [1, 3, 7])
def test_windows_overlap_by_the_stride(stride):
    split = WindowSplit(TOKENS, 7, stride)
    windows = np.lib.stride_tricks.sliding_window_view(TOKENS, 7)[::stride]
    assert len(split) == len(windows)
    taken = take(split, np.arange(len(split)))["tokens"]
    np.testing.assert_array_equal(taken, windows)


def test_values_that_are_not_finite_are_named():
    images, labels = np.zeros((4, 3), np.float32), np.zeros((4, 1), np.float32)
    ArraySplit({"image": images, "label": labels})
    images[2, 1], images[3, 0] = np.nan, np.inf
    with pytest.raises(DataError, match="image: 2 of 4 examples are not finite, the first at 2"):
        ArraySplit({"image": images, "label": labels})
    labels[1] = -np.inf
    with pytest.raises(DataError, match="label: 1 of 4 examples .* the first at 1"):
        ArraySplit({"label": labels})


def test_arrays_that_do_not_fit_are_refused():
    with pytest.raises(DataError, match="equal numbers of examples, got image 4, label 3"):
        ArraySplit({"image": np.zeros((4, 3), np.float32), "label": np.zeros(3, np.int32)})
    with pytest.raises(DataError, match="got no arrays"):
        ArraySplit({})
    with pytest.raises(DataError, match="label has the dtype <U1, expected numbers"):
        ArraySplit({"label": np.array(["a", "b"])})


@pytest.mark.parametrize(("length", "stride"), [(0, None), (4, 0), (104, None)])
def test_windows_that_cannot_be_cut_are_refused(length, stride):
    with pytest.raises(DataError, match=rf"cut 103 tokens into windows with length={length}"):
        WindowSplit(TOKENS, length, stride)
