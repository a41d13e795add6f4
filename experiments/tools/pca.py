"""Principal component analysis, the linear autoencoder that others are measured by."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, UInt8

from cnn_jax.errors import ConfigError

_CHUNK = 4096


@dataclass(frozen=True)
class PCA:
    """Codes of examples: their coordinates along the directions of greatest variance.

    Attributes:
        mean: of the examples that it was fitted to.
        components: orthonormal directions, that of the greatest variance first.
    """

    mean: Float[np.ndarray, " features"]
    components: Float[np.ndarray, "components features"]

    def first(self, components: int) -> "PCA":
        """The PCA of fewer components."""
        return PCA(self.mean, self.components[:components])

    def encode(
        self, examples: Float[np.ndarray, "n features"]
    ) -> Float[np.ndarray, "n components"]:
        """The codes of examples."""
        return (examples - self.mean) @ self.components.T

    def decode(self, codes: Float[np.ndarray, "n components"]) -> Float[np.ndarray, "n features"]:
        """The examples of codes: of all, those with the least squared error."""
        return codes @ self.components + self.mean


def fit_pca(examples: UInt8[np.ndarray, "n ..."], components: int) -> PCA:
    """The PCA of images or other examples of bytes, as numbers in [0, 1], flattened.

    As `sklearn.decomposition.PCA`, by the eigenvectors of the covariance matrix; each component's
    entry of the largest magnitude is positive.

    Args:
        examples: what to fit to. It is read in chunks, so that no float copy of it is made.
        components: number of components.

    Raises:
        ConfigError: more components than the examples or their features allow.
    """
    flat = examples.reshape(len(examples), -1)
    most = min(flat.shape)
    if not 1 <= components <= most:
        raise ConfigError(
            f"a PCA of {flat.shape[0]:,} examples with {flat.shape[1]:,} features has from 1 to "
            f"{most:,} components, got {components}"
        )
    mean = flat.mean(axis=0, dtype=np.float64) / 255
    covariance = np.zeros((flat.shape[1],) * 2)
    for start in range(0, len(flat), _CHUNK):
        centred = flat[start : start + _CHUNK] / 255 - mean
        covariance += centred.T @ centred
    directions = np.linalg.eigh(covariance)[1].T[::-1][:components]
    largest = np.take_along_axis(directions, np.abs(directions).argmax(1)[:, None], axis=1)
    return PCA(mean, directions * np.sign(largest))
