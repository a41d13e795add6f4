import numpy as np
import pytest

from cnn_jax.data import epoch_order


def test_every_example_once():
    order = epoch_order(seed=3, epoch=7, n=1_000)
    assert order.dtype == np.int32
    assert np.array_equal(np.sort(order), np.arange(1_000))


def test_it_is_a_function_of_seed_and_epoch():
    assert np.array_equal(epoch_order(3, 7, 50), epoch_order(3, 7, 50))
    assert not np.array_equal(epoch_order(3, 7, 50), epoch_order(3, 8, 50))
    assert not np.array_equal(epoch_order(3, 7, 50), epoch_order(7, 3, 50))


def test_it_never_changes():
    # A resumed run has to see what the run before it would have seen, also with a later NumPy.
    assert epoch_order(0, 0, 10).tolist() == RECORDED


RECORDED = [3, 2, 1, 8, 6, 0, 7, 4, 5, 9]


def test_all_places_are_equally_likely():
    first = np.array([epoch_order(0, epoch, 10)[0] for epoch in range(2_000)])
    assert np.abs(np.bincount(first, minlength=10) - 200).max() < 5 * (2_000 * 0.1 * 0.9) ** 0.5


def test_nothing_negative():
    with pytest.raises(ValueError, match="seed=-1"):
        epoch_order(-1, 0, 10)
