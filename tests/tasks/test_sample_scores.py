import json

import numpy as np
import pytest
from scipy import linalg

from cnn_jax.tasks import (
    frechet_distance,
    inception_score,
    matrix_square_root,
    precision_recall,
)
from cnn_jax.tasks.sample_scores import class_shares
from tests.references.fidelity import SCORED, drawn_features
from tests.references.records import HERE
from tests.tolerance import assert_close

RNG = np.random.default_rng(0)


def features(n, size, shift=0.0):
    mixed = RNG.normal(size=(size, size))
    return RNG.normal(size=(n, size)) @ mixed + shift


@pytest.mark.parametrize("rank", [6, 3])
def test_the_square_root_is_scipy_s(rank):
    factor = RNG.normal(size=(6, rank))
    matrix = factor @ factor.T
    root = matrix_square_root(matrix)
    assert_close(root @ root, matrix)
    if rank == 6:
        assert_close(root, linalg.sqrtm(matrix).real)


@pytest.mark.parametrize(("n", "size"), [(200, 5), (4, 9)])
def test_the_distance_is_that_of_the_published_formula(n, size):
    """As `torch_fidelity` and the authors compute it, with scipy's root of a product."""
    real, fake = features(n, size), features(n, size, shift=0.5)
    cov1, cov2 = np.cov(real.T), np.cov(fake.T)
    # Fewer images than features make a singular product, of which scipy needs a little more.
    extra = 0 if n > size else 1e-9 * np.eye(size)
    root = linalg.sqrtm((cov1 + extra) @ (cov2 + extra)).real
    means = np.square(real.mean(0) - fake.mean(0)).sum()
    expected = means + np.trace(cov1) + np.trace(cov2) - 2 * np.trace(root)
    assert_close(frechet_distance(real, fake), expected, rtol=1e-8 if n > size else 1e-3)


def test_the_distance_of_known_distributions():
    """Of the same features 0; of features moved by d |d|²; of one number (σ₁ - σ₂)²."""
    real = features(50, 4)
    assert frechet_distance(real, real) < 1e-8
    assert_close(frechet_distance(real, real + np.array([1.0, 2, 0, 0])), 5.0)
    line = RNG.normal(size=(30, 1))
    deviation = np.std(line, ddof=1)
    assert_close(frechet_distance(line, line.mean() + 3 * (line - line.mean())), 4 * deviation**2)


def test_the_score_of_certain_and_of_uncertain_probabilities():
    assert inception_score(np.eye(8)[np.arange(80) % 8], splits=2) == pytest.approx((8, 0))
    assert inception_score(np.full((20, 5), 0.2)) == pytest.approx((1, 0))
    probabilities = RNG.dirichlet(np.ones(4), 60)
    expected = []
    for part in np.split(probabilities, 3):
        divergences = [np.sum(p * (np.log(p) - np.log(part.mean(0)))) for p in part]
        expected.append(np.exp(np.mean(divergences)))
    actual = inception_score(probabilities, splits=3)
    assert_close(actual, (np.mean(expected), np.std(expected)))
    with pytest.raises(ValueError, match="2 images cannot be divided into 10 parts"):
        inception_score(np.eye(2))


def test_precision_and_recall_are_those_of_their_definition(monkeypatch):
    monkeypatch.setattr("cnn_jax.tasks.sample_scores.BLOCK", 7)
    real, fake = RNG.normal(size=(20, 2)), 0.7 * RNG.normal(size=(30, 2)) + 0.6

    def share(points, others, k):
        radii = [sorted(np.linalg.norm(others - one, axis=1))[k] for one in others]
        near = [
            any(np.linalg.norm(p - o) <= r for o, r in zip(others, radii, strict=True))
            for p in points
        ]
        return np.mean(near)

    expected = share(fake, real, 3), share(real, fake, 3)
    assert 0 < expected[0] < 1 and 0 < expected[1] < 1
    assert precision_recall(real, fake) == pytest.approx(expected)
    # All samples of one of two modes: every one is good, and half of the data are missing.
    modes = np.concatenate([real, real + 100])
    assert precision_recall(modes, real) == (1, 0.5)


@pytest.mark.parametrize("case", SCORED)
def test_scores_are_those_of_torch_fidelity(case):
    """As `python -m tests.references.record_fid` recorded them."""
    expected = json.loads((HERE / "sample_scores.json").read_text())[case]
    real, fake, logits = drawn_features(*SCORED[case])
    probabilities = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    order = np.random.RandomState(2020).permutation(len(logits))
    score, deviation = inception_score(probabilities[order])
    precision, recall = precision_recall(real, fake)
    actual = {
        "fid": frechet_distance(real, fake),
        "inception_score": score,
        "inception_score_deviation": deviation,
        "precision": precision,
        "recall": recall,
    }
    # Its square roots of a singular product are less exact, and its shares are float32.
    assert_close(actual, expected, rtol=1e-6)


def test_shares_of_classes():
    np.testing.assert_array_equal(class_shares(np.array([0, 2, 2, 2]), 4), [0.25, 0, 0.75, 0])


@pytest.mark.usefixtures("no_shape_hook")
def test_messages():
    with pytest.raises(ValueError, match="features of at least two images, got 1"):
        frechet_distance(np.ones((1, 3)), np.ones((5, 3)))
    with pytest.raises(ValueError, match="not finite"):
        precision_recall(np.ones((4, 3)), np.full((4, 3), np.nan))
