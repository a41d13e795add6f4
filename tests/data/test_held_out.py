import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from cnn_jax.data.held_out import hold_out


@given(sizes=st.lists(st.integers(1, 40), min_size=1, max_size=12), seed=st.integers(0, 99))
@settings(deadline=None, max_examples=100)
def test_each_class_is_held_out_in_proportion(sizes, seed):
    labels = np.repeat(np.arange(len(sizes)), sizes)
    labels = np.random.default_rng(seed).permutation(labels)
    count = len(labels) // 10
    rest, held = hold_out(np.arange(len(labels)), count, labels)
    assert np.array_equal(np.sort(np.concatenate([rest, held])), np.arange(len(labels)))
    shared = sum(size for size in sizes if size > 1)
    assert len(held) == min(count, shared)
    found = np.bincount(labels[held], minlength=len(sizes))
    for size, one in zip(sizes, found, strict=True):
        expected = len(held) * size / shared if size > 1 else 0
        assert abs(one - expected) < 1


def test_the_parts_are_always_the_same():
    rest, held = hold_out(np.arange(20), 4, np.arange(20) // 10)
    assert held.tolist() == [15, 1, 4, 10]
    assert set(rest.tolist()) == set(range(20)) - {1, 4, 10, 15}
    assert rest.tolist() != sorted(rest.tolist())
