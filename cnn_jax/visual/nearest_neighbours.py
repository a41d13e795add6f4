"""The examples that are most like an example, by any features of them."""

from typing import Literal

import numpy as np
from jaxtyping import Float, Int

from cnn_jax.visual.style import AnyArray

_CHUNK_ELEMENTS = 2**24


def nearest_neighbours(
    queries: Float[AnyArray, "queries features"],
    points: Float[AnyArray, "points features"],
    *,
    count: int,
    metric: Literal["cosine", "euclidean"] = "cosine",
) -> tuple[Int[np.ndarray, "queries count"], Float[np.ndarray, "queries count"]]:
    """Indices and distances of the points next to each query, the nearest first.

    All distances are computed, in float64 and in portions of bounded memory. Of points at the same
    distance the first one comes first.

    Krizhevsky et al. 2012, section 6.1, look at a network's last features so, with the Euclidean
    distance.

    Args:
        queries: a row each.
        points: a row each.
        count: neighbours of each query; at most as many as there are points.
        metric: "cosine" is 1 - cosine similarity, between 0 and 2, whatever the lengths; a row of
            zeros is at distance 1 from all. "euclidean" is the length of the difference.

    Raises:
        ValueError: another number of features, a count that is not in 1 … points, another metric,
            or features that are not finite.
    """
    queries, points = (np.asarray(rows, np.float64) for rows in (queries, points))
    if metric not in ("cosine", "euclidean"):
        raise ValueError(f"the metric must be 'cosine' or 'euclidean', got {metric!r}")
    if queries.shape[1] != points.shape[1]:
        raise ValueError(
            f"queries of {queries.shape[1]} features have no distance from points of "
            f"{points.shape[1]}"
        )
    if not 1 <= count <= len(points):
        raise ValueError(f"expected a count of 1 up to {len(points)} points, got {count}")
    if not (np.isfinite(queries).all() and np.isfinite(points).all()):
        raise ValueError("some features are infinite or not a number: they have no distance")
    if metric == "cosine":
        queries, points = _directions(queries), _directions(points)
    squares = np.sum(np.square(points), axis=1)
    indices = np.empty((len(queries), count), np.int64)
    distances = np.empty((len(queries), count))
    chunk = max(1, _CHUNK_ELEMENTS // len(points))
    for start in range(0, len(queries), chunk):
        some = slice(start, start + chunk)
        products = queries[some] @ points.T
        if metric == "cosine":
            far = 1 - products
        else:
            own = np.sum(np.square(queries[some]), axis=1, keepdims=True)
            # What is 0 may be rounded to less.
            far = np.sqrt(np.maximum(own + squares[None] - 2 * products, 0))
        nearest = np.argsort(far, axis=1, kind="stable")[:, :count]
        indices[some] = nearest
        distances[some] = np.take_along_axis(far, nearest, axis=1)
    return indices, distances


def _directions(rows: np.ndarray) -> np.ndarray:
    lengths = np.linalg.norm(rows, axis=1, keepdims=True)
    return np.divide(rows, lengths, out=np.zeros_like(rows), where=lengths > 0)
