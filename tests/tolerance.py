"""The one comparison of arrays that the tests use."""

from typing import Any

import jax
import numpy as np


def _leaves(tree: Any) -> dict[str, np.ndarray]:
    paths, _ = jax.tree_util.tree_flatten_with_path(tree)
    return {jax.tree_util.keystr(path) or "(the array)": np.asarray(leaf) for path, leaf in paths}


def _wide(array: np.ndarray) -> np.ndarray:
    return array.astype(np.complex128 if np.iscomplexobj(array) else np.float64)


def assert_close(actual: Any, expected: Any, *, rtol: float = 1e-8, atol: float = 1e-10) -> None:
    """Asserts max|actual - expected| <= rtol * max|expected| + atol in every leaf of two pytrees.

    The error is measured against the leaf's largest value, not element by element: sums that
    cancel to nearly zero carry the rounding of their terms. The defaults are for float64; for
    float32 give the tolerance that the quantity deserves. Values that are not finite must be equal
    and in the same places. Dtypes are not compared.
    """
    actual_leaves, expected_leaves = _leaves(actual), _leaves(expected)
    missing = sorted(expected_leaves.keys() - actual_leaves.keys())
    unexpected = sorted(actual_leaves.keys() - expected_leaves.keys())
    assert not missing and not unexpected, f"leaves missing: {missing}; not expected: {unexpected}"

    problems = []
    for name, expected_leaf in expected_leaves.items():
        actual_leaf = actual_leaves[name]
        if actual_leaf.shape != expected_leaf.shape:
            problems.append(f"{name}: shape {actual_leaf.shape}, expected {expected_leaf.shape}")
            continue
        a, b = _wide(actual_leaf), _wide(expected_leaf)
        finite = np.isfinite(b)
        if not np.array_equal(a[~finite], b[~finite], equal_nan=True) or not np.array_equal(
            finite, np.isfinite(a)
        ):
            problems.append(f"{name}: infinite or NaN values differ")
            continue
        error = np.abs(np.where(finite, a, 0) - np.where(finite, b, 0))
        limit = rtol * np.max(np.abs(b[finite]), initial=0.0) + atol
        if np.max(error, initial=0.0) > limit:
            worst = np.unravel_index(np.argmax(error), error.shape)
            problems.append(
                f"{name}: max|a-b| = {error[worst]:.3g} > {limit:.3g} at {tuple(map(int, worst))}: "
                f"{actual_leaf[worst]} instead of {expected_leaf[worst]}"
            )
    assert not problems, "\n".join(problems)
