"""Convolution is equivariant, pooling for multiples of its stride; the figures are drawn."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from experiments import pooling_invariance
from experiments.pooling_invariance import Config, equivariance, invariance, layers
from tests.tolerance import assert_close

SHIFTS = 4


@pytest.fixture
def windows():
    with jax.enable_x64(True):
        # Eight pixels of maps, two of the kernel, the shifts.
        yield jnp.asarray(np.random.default_rng(0).random((2, 8 + 2 + SHIFTS, 14, 3)))


def test_the_figures_are_drawn(start, tmp_path, capsys):
    start("pooling_invariance", "--smoke")
    for name in ("changes", "maps"):
        assert (tmp_path / "pooling_invariance" / f"{name}.png").stat().st_size > 10_000
    assert "max pooling 4x4, moved along" in capsys.readouterr().out


def test_features_move_along_with_multiples_of_the_stride(windows):
    for name, layer in layers(2).items():
        if layer.everywhere:
            continue
        errors = np.array(equivariance(layer, windows, SHIFTS))
        multiples = np.arange(SHIFTS + 1) % layer.stride == 0
        assert errors[multiples].max() < 1e-12, name
        assert (errors[~multiples] > 0.1).all(), name


def test_a_change_is_relative_to_the_features_before(windows):
    layer = layers(2)["max pooling 2x2"]
    changes = invariance(layer, windows, SHIFTS)
    assert changes[0] == 0
    before, down, right = (
        np.asarray(layer.features(windows[:, y : y + 10, x : x + 10]))
        for y, x in ((0, 0), (1, 0), (0, 1))
    )
    expected = [np.linalg.norm(one - before) / np.linalg.norm(before) for one in (down, right)]
    assert_close(changes[1], np.mean(expected))


def test_there_is_an_edge_kernel_for_each_of_eight_directions():
    kernels = pooling_invariance.edge_kernels()
    assert kernels.shape == (3, 3, 3, 8)
    assert len(np.unique(kernels.reshape(-1, 8), axis=1).T) == 8
    assert_close(kernels.sum(axis=(0, 1, 2)), np.zeros(8), atol=1e-15)


def test_crops_lie_inside_of_the_photographs():
    config = Config(crops=4, size=16, height=40, shifts=8)
    assert pooling_invariance.draw_windows(config).shape == (4, 26, 26, 3)


def test_help_explains_every_flag(capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "200")
    with pytest.raises(SystemExit):
        pooling_invariance.main(["--help"])
    shown = capsys.readouterr().out
    for name in Config.__dataclass_fields__:
        assert f"--{name}" in shown
