import sys

import numpy as np
import pytest

from cnn_jax.visual import nearest_neighbours

RANDOM = np.random.default_rng(0)
POINTS = RANDOM.standard_normal((40, 6)).astype(np.float32)
QUERIES = RANDOM.standard_normal((7, 6)).astype(np.float32)


def naive(queries, points, metric):
    distances = np.empty((len(queries), len(points)))
    for i, a in enumerate(queries.astype(np.float64)):
        for j, b in enumerate(points.astype(np.float64)):
            if metric == "euclidean":
                distances[i, j] = np.sqrt(((a - b) ** 2).sum())
            else:
                distances[i, j] = 1 - (a @ b) / np.sqrt((a @ a) * (b @ b))
    return distances


@pytest.mark.parametrize("metric", ["cosine", "euclidean"])
@pytest.mark.parametrize("elements", [1, 100, 2**24])
def test_neighbours_are_those_of_a_loop(metric, elements, monkeypatch):
    # The package's attribute of that name is the function.
    module = sys.modules["cnn_jax.visual.nearest_neighbours"]
    monkeypatch.setattr(module, "_CHUNK_ELEMENTS", elements)
    indices, distances = nearest_neighbours(QUERIES, POINTS, count=5, metric=metric)
    expected = naive(QUERIES, POINTS, metric)
    np.testing.assert_array_equal(indices, np.argsort(expected, axis=1)[:, :5])
    np.testing.assert_allclose(distances, np.sort(expected, axis=1)[:, :5], atol=1e-12)


def test_a_point_is_its_own_neighbour_and_the_first_of_equals_comes_first():
    points = np.concatenate([POINTS, POINTS])
    for metric in ("cosine", "euclidean"):
        indices, distances = nearest_neighbours(POINTS, points, count=3, metric=metric)
        np.testing.assert_array_equal(
            indices[:, :2], np.stack([np.arange(40), np.arange(40, 80)], 1)
        )
        np.testing.assert_allclose(distances[:, :2], 0, atol=1e-6)


def test_length_is_of_the_euclidean_metric_alone():
    points = np.array([[10.0, 0.0], [0.0, 1.0], [0.0, 0.0]])
    query = np.array([[1.0, 0.1]])
    assert nearest_neighbours(query, points, count=3)[0].tolist() == [[0, 1, 2]]
    assert nearest_neighbours(query, points, count=3)[1][0, 2] == 1
    assert nearest_neighbours(query, points, count=3, metric="euclidean")[0].tolist() == [[2, 1, 0]]


def test_what_has_no_distance_is_named(no_shape_hook):
    with pytest.raises(ValueError, match="queries of 5 features .* points of 6"):
        nearest_neighbours(QUERIES[:, :5], POINTS, count=1)
    with pytest.raises(ValueError, match="a count of 1 up to 40 points, got 41"):
        nearest_neighbours(QUERIES, POINTS, count=41)
    with pytest.raises(ValueError, match="'cosine' or 'euclidean', got 'manhattan'"):
        nearest_neighbours(QUERIES, POINTS, count=1, metric="manhattan")
    with pytest.raises(ValueError, match="infinite or not a number"):
        nearest_neighbours(QUERIES * np.inf, POINTS, count=1)
