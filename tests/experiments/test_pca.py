import numpy as np
import pytest
from sklearn.decomposition import PCA as Reference

from cnn_jax.errors import ConfigError
from experiments.tools import pca as module
from experiments.tools.pca import fit_pca
from tests.tolerance import assert_close

RANDOM = np.random.default_rng(0)
# Directions of clearly different variance, so that each is determined.
SCALES = 2.0 ** -np.arange(12)
BYTES = np.clip(127 + 120 * RANDOM.normal(size=(300, 12)) * SCALES, 0, 255).astype(np.uint8)
FLOATS = BYTES / 255


@pytest.mark.parametrize("chunk", [7, 4096])
def test_it_is_the_pca_of_scikit_learn(monkeypatch, chunk):
    monkeypatch.setattr(module, "_CHUNK", chunk)
    pca = fit_pca(BYTES.reshape(300, 3, 4), 4)
    reference = Reference(4, svd_solver="full").fit(FLOATS)
    assert_close(pca.mean, reference.mean_)
    signs = np.sign((pca.components * reference.components_).sum(axis=1))
    assert_close(pca.components, reference.components_ * signs[:, None])
    assert_close(pca.encode(FLOATS), reference.transform(FLOATS) * signs)
    rebuilt = reference.inverse_transform(reference.transform(FLOATS))
    assert_close(pca.decode(pca.encode(FLOATS)), rebuilt)


def test_signs_are_settled():
    components = fit_pca(BYTES, 4).components
    assert np.all(np.take_along_axis(components, np.abs(components).argmax(1)[:, None], 1) > 0)


def test_fewer_components_are_the_first_ones():
    assert_close(fit_pca(BYTES, 6).first(2).components, fit_pca(BYTES, 2).components)


def test_all_components_lose_nothing():
    pca = fit_pca(BYTES, 12)
    assert_close(pca.decode(pca.encode(FLOATS)), FLOATS)


def test_a_number_of_components_that_there_is_not():
    with pytest.raises(ConfigError, match="12 features has from 1 to 12 components, got 13"):
        fit_pca(BYTES, 13)
    with pytest.raises(ConfigError, match="5 examples .* from 1 to 5 components, got 6"):
        fit_pca(BYTES[:5], 6)
    with pytest.raises(ConfigError, match="got 0"):
        fit_pca(BYTES, 0)
