import jax
import jax.numpy as jnp
import numpy as np
import pytest

from cnn_jax.layers import conv2d, whitening_kernel
from cnn_jax.layers.initializers import dirac_init
from tests.tolerance import assert_close


@pytest.fixture
def images():
    """Neighbouring pixels are alike, and so are the channels."""
    with jax.enable_x64(True):
        noise = np.random.default_rng(0).normal(size=(5, 9, 8, 3))
        smooth = noise + np.roll(noise, 1, axis=1) + 0.5 * noise[..., ::-1]
        yield jnp.asarray(smooth)


@pytest.mark.parametrize("size", [1, 2, 3])
def test_whitened_patches_have_the_identity_as_covariance(images, size):
    responses = conv2d(images, whitening_kernel(images, size, eps=0.0))
    flat = np.asarray(responses).reshape(-1, responses.shape[-1])
    half = size * size * 3
    assert flat.shape[1] == 2 * half
    assert_close(flat[:, :half].T @ flat[:, :half] / len(flat), np.eye(half))
    assert_close(flat[:, half:], -flat[:, :half], rtol=1e-14)


def test_filters_are_scaled_eigenvectors(images):
    kernel = np.asarray(whitening_kernel(images, 2, eps=0.1))
    windows = np.lib.stride_tricks.sliding_window_view(np.asarray(images), (2, 2), axis=(1, 2))
    # The patches' values as row, column, channel.
    patches = windows.transpose(0, 1, 2, 4, 5, 3).reshape(-1, 12)
    squares = patches.T @ patches / len(patches)
    filters = kernel.reshape(12, 24)[:, :12]
    values = np.linalg.eigvalsh(squares)
    assert_close(squares @ filters, filters * values)
    assert_close(np.sum(filters**2, axis=0), 1 / (values + 0.1))


def test_directions_without_variation_are_not_amplified_beyond_eps(images):
    gray = jnp.repeat(images[..., :1], 3, axis=-1)
    norms = np.linalg.norm(np.asarray(whitening_kernel(gray)).reshape(12, 24), axis=0)
    assert norms.max() <= 1 / np.sqrt(5e-4) * (1 + 1e-9)


@pytest.mark.parametrize("size", [0, 9])
@pytest.mark.usefixtures("no_shape_hook")
def test_patches_that_do_not_fit_are_refused(images, size):
    with pytest.raises(ValueError, match=f"{size}x{size} pixels do not fit .* 9x8; .* 1 to 8"):
        whitening_kernel(images, size)


@pytest.mark.parametrize("features", [2, 3, 5])
def test_dirac_passes_the_image_on(images, features):
    kernel = dirac_init(jax.random.key(0), (3, 3, 3, features), jnp.float64)
    y = conv2d(images, kernel, padding=1)
    passed = min(3, features)
    assert_close(y[..., :passed], images[..., :passed], rtol=0, atol=0)
    assert bool(jnp.all(kernel[..., passed:] != 0))


def test_dirac_is_pytorchs():
    torch = pytest.importorskip("torch", reason="torch is not installed")
    kernel = torch.nn.init.dirac_(torch.empty(4, 4, 3, 3))
    ours = dirac_init(jax.random.key(0), (3, 3, 4, 4))
    assert_close(ours, kernel.permute(2, 3, 1, 0).numpy(), rtol=0, atol=0)
