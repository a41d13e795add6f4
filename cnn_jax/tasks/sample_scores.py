"""Scores of generated images: what their features, given by some network, say of them.

The Fréchet distance is called FID only where the features are those of Inception v3 with its public
weights (the last average pooling, 2,048 numbers). Everything is computed on the host in float64.
"""

from collections.abc import Iterator

import numpy as np
from jaxtyping import Float, Int

from cnn_jax.errors import ConfigError

Features = Float[np.ndarray, "_ features"]
Matrix = Float[np.ndarray, "size size"]

BLOCK = 1000
"""Rows of a matrix of distances that are computed at once."""


def frechet_distance(real: Features, fake: Features) -> float:
    """The Fréchet distance of two sets of features, as if each were normally distributed.

    |mean₁ - mean₂|² + trace(cov₁ + cov₂ - 2 (cov₁ cov₂)^½) (Heusel et al. 2017, "GANs trained by a
    two time-scale update rule converge to a local Nash equilibrium", equation 6). It grows with
    fewer images: compare only values of equally many.

    Raises:
        ConfigError: fewer than two images, or features that are not finite.
    """
    (mean1, cov1), (mean2, cov2) = map(_moments, (real, fake))
    root = matrix_square_root(cov1)
    # The eigenvalues of cov₁ cov₂ are those of this symmetric matrix.
    cross = np.sqrt(np.maximum(np.linalg.eigvalsh(root @ cov2 @ root), 0)).sum()
    distance = np.square(mean1 - mean2).sum() + np.trace(cov1) + np.trace(cov2) - 2 * cross
    return float(max(distance, 0.0))


def matrix_square_root(matrix: Matrix) -> Matrix:
    """The positive semidefinite square root of a symmetric positive semidefinite matrix.

    Eigenvalues that rounding made negative count as 0.
    """
    values, vectors = np.linalg.eigh(np.asarray(matrix, np.float64))
    return (vectors * np.sqrt(np.maximum(values, 0))) @ vectors.T


def inception_score(
    probabilities: Float[np.ndarray, "images classes"], splits: int = 10
) -> tuple[float, float]:
    """Mean and standard deviation over parts of exp(mean KL(p(class | image) || p(class))).

    Source: Salimans et al. 2016 ("Improved techniques for training GANs"), section 4. It is called
    the Inception Score only of the probabilities of Inception v3.

    Args:
        probabilities: of each image; rows sum to 1.
        splits: number of parts, of images in turn; part i ends before image (i + 1) n / splits,
            rounded down, as in the authors' code.

    Raises:
        ConfigError: fewer images than parts.
    """
    probabilities = np.asarray(probabilities, np.float64)
    if not 1 <= splits <= len(probabilities):
        raise ConfigError(f"{len(probabilities)} images cannot be divided into {splits} parts")
    scores, ends = [], np.arange(1, splits) * len(probabilities) // splits
    for part in np.split(probabilities, ends):
        ratio = np.maximum(part, 1e-300) / np.maximum(part.mean(axis=0), 1e-300)
        scores.append(np.exp(np.sum(part * np.log(ratio), axis=1).mean()))
    return float(np.mean(scores)), float(np.std(scores))


def precision_recall(real: Features, fake: Features, neighbours: int = 3) -> tuple[float, float]:
    """The share of generated images near real ones, and of real images near generated ones.

    An image is near a set if it lies in the ball around one of the set's images that reaches to
    that image's k-th neighbour (Kynkäänniemi et al. 2019, "Improved precision and recall metric for
    assessing generative models", equation 2).

    Args:
        real, fake: features.
        neighbours: k; of fewer images as many as there are.

    Raises:
        ConfigError: fewer than two images.
    """
    _check(real)
    _check(fake)
    return _share_near(fake, real, neighbours), _share_near(real, fake, neighbours)


def class_shares(classes: Int[np.ndarray, " images"], count: int) -> Float[np.ndarray, " count"]:
    """How many of the images are in each class, as fractions."""
    return np.bincount(np.asarray(classes), minlength=count) / max(len(classes), 1)


def _moments(features: Features) -> tuple[np.ndarray, np.ndarray]:
    _check(features)
    features = np.asarray(features, np.float64)
    return features.mean(axis=0), np.atleast_2d(np.cov(features, rowvar=False))


def _check(features: Features) -> None:
    if len(features) < 2:
        raise ConfigError(f"expected the features of at least two images, got {len(features)}")
    if not np.isfinite(features).all():
        raise ConfigError("the features of some images are not finite")


def _share_near(points: Features, others: Features, neighbours: int) -> float:
    """The share of points that lie in a ball around one of the others."""
    # An image is no neighbour of its own: the first distance is 0.
    place = min(neighbours, len(others) - 1)
    radii = np.concatenate(
        [np.partition(block, place, axis=1)[:, place] for block in _distances(others, others)]
    )
    near = [np.any(block <= radii, axis=1) for block in _distances(points, others)]
    return float(np.concatenate(near).mean())


def _distances(points: Features, others: Features) -> Iterator[np.ndarray]:
    """Squared distances of points to others, a block of points after the other."""
    points, others = np.asarray(points, np.float64), np.asarray(others, np.float64)
    # Distances between near points cancel less where the mean is 0.
    mean = others.mean(axis=0)
    points, others = points - mean, others - mean
    squares = np.square(others).sum(axis=1)
    for start in range(0, len(points), BLOCK):
        block = points[start : start + BLOCK]
        of_block = np.square(block).sum(axis=1)[:, None]
        yield np.maximum(of_block + squares[None] - 2 * block @ others.T, 0)
