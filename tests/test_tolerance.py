import jax.numpy as jnp
import numpy as np
import pytest

from tests.tolerance import assert_close


def test_equal_trees_pass_whatever_their_dtypes():
    assert_close({"a": jnp.ones(3), "b": [1, 2.0]}, {"a": np.ones(3), "b": [1.0, 2]})
    assert_close(np.array([np.inf, np.nan, 1.0]), np.array([np.inf, np.nan, 1.0]))
    assert_close(np.zeros((0, 3)), np.zeros((0, 3)))


def test_the_error_is_relative_to_the_largest_value_of_the_leaf():
    assert_close(np.array([100.0, 1e-7]), np.array([100.0, 0.0]), rtol=1e-8, atol=0)
    with pytest.raises(AssertionError, match=r"\['w'\].*at \(1,\)"):
        assert_close({"w": np.array([1.0, 1e-7])}, {"w": np.array([1.0, 0.0])})


@pytest.mark.parametrize(
    ("actual", "message"),
    [
        ({"a": np.ones(2)}, "missing: .*'b'"),
        ({"a": np.ones(2), "b": np.ones(1), "c": 0}, "not expected: .*'c'"),
        ({"a": np.ones(1), "b": np.ones(1)}, r"'a'.*shape \(1,\), expected \(2,\)"),
        ({"a": np.array([1, np.nan]), "b": np.ones(1)}, "NaN values differ"),
    ],
)
def test_differences_name_the_leaf(actual, message):
    with pytest.raises(AssertionError, match=message):
        assert_close(actual, {"a": np.ones(2), "b": np.ones(1)})
