"""Reconstruction: the target is the image, and the metric is about what is predicted."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn

from cnn_jax.errors import ConfigError
from cnn_jax.tasks import Reconstruction
from tests.tasks.specs import image_spec
from tests.tolerance import assert_close
from tests.training.small import ConvNet


class Shift(nn.Module):
    """Gives every pixel of the image, plus a number."""

    @nn.compact
    def __call__(self, x: Any, *, train: bool = False) -> Any:
        return x + self.param("shift", nn.initializers.constant(0.5), ())


IMAGES = np.random.default_rng(0).random((4, 3, 5, 2))
BATCH = {
    "image": jnp.asarray(IMAGES, jnp.float32),
    "label": jnp.zeros(4, jnp.int32),
    "weight": jnp.array([1.0, 1.0, 0.0, 1.0]),
}
KEPT = IMAGES[[0, 1, 3]]


def results(task: Reconstruction) -> tuple:
    params, model_state = task.init(jax.random.key(0), image_spec(IMAGES.shape[1:]))
    loss, (_, sums) = task.loss_fn(params, model_state, BATCH, jax.random.key(0), True)
    return task.summarize(sums | {"loss": loss}), task.predict(params, model_state, BATCH)


def test_squared_error_is_summed_over_pixels() -> None:
    summary, images = results(Reconstruction(Shift(), output="identity"))
    assert summary["loss"] == summary["squared_error"] == pytest.approx(30 * 0.25, rel=1e-5)
    assert_close(images, IMAGES + 0.5, rtol=1e-5)


def test_bernoulli_outputs_are_logits() -> None:
    summary, images = results(Reconstruction(Shift(), loss="bernoulli"))
    p = 1 / (1 + np.exp(-(KEPT + 0.5)))
    likelihood = KEPT * np.log(p) + (1 - KEPT) * np.log(1 - p)
    assert summary == {
        "loss": pytest.approx(-likelihood.sum() / 3, rel=1e-5),
        "squared_error": pytest.approx(((p - KEPT) ** 2).sum() / 3, rel=1e-5),
    }
    assert_close(np.asarray(images)[[0, 1, 3]], p, rtol=1e-5)


def test_a_sigmoid_makes_pixels_of_outputs() -> None:
    summary, images = results(Reconstruction(Shift()))
    p = 1 / (1 + np.exp(-(KEPT + 0.5)))
    expected = pytest.approx(((p - KEPT) ** 2).sum() / 3, rel=1e-5)
    assert summary == {"loss": expected, "squared_error": expected}
    assert_close(np.asarray(images)[[0, 1, 3]], p, rtol=1e-5)


def test_what_is_wrong_is_told(no_shape_hook: None) -> None:
    with pytest.raises(ConfigError, match="'squared', 'bernoulli', got 'l1'"):
        Reconstruction(Shift(), loss="l1")  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="'sigmoid', 'identity', got 'tanh'"):
        Reconstruction(Shift(), output="tanh")  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="must be 'sigmoid', got 'identity'"):
        Reconstruction(Shift(), loss="bernoulli", output="identity")
    with pytest.raises(ValueError, match=r"outputs of shape \(4, 4\) .* got \(4, 3, 5, 2\)"):
        results(Reconstruction(ConvNet(norm="frozen")))
