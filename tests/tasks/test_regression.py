"""Regression: its loss by name, and RMSE in the label's unit."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn

from cnn_jax.errors import ConfigError
from cnn_jax.tasks import Regression, absolute_error, huber_loss, squared_error
from tests.tasks.specs import image_spec
from tests.tolerance import assert_close
from tests.training.small import ConvNet

LOSSES = {"squared": squared_error, "absolute": absolute_error, "huber": huber_loss}


def batch_of(n: int) -> dict:
    rng = np.random.default_rng(0)
    return {
        "image": jnp.asarray(rng.normal(size=(n, 8, 8, 1)), jnp.float32),
        "label": jnp.asarray(3 * rng.normal(size=(n, 4)), jnp.float32),
        "weight": jnp.asarray(np.arange(n) != 2, jnp.float32),
    }


@pytest.mark.parametrize("loss", LOSSES)
def test_loss_by_name_and_rmse(loss: str) -> None:
    task = Regression(ConvNet(norm="frozen"), loss=loss)
    params, model_state = task.init(jax.random.key(0), image_spec((8, 8, 1)))
    batch = batch_of(6)
    total, (_, sums) = task.loss_fn(params, model_state, batch, jax.random.key(1), True)
    outputs = task.predict(params, model_state, batch)
    assert outputs.shape == (6, 4)
    kept = np.array([0, 1, 3, 4, 5])
    errors = np.asarray(outputs - batch["label"], np.float64)[kept]
    expected = np.asarray(LOSSES[loss](outputs, batch["label"]))[kept].sum()
    assert_close(total, expected, rtol=1e-5)
    assert task.summarize(sums | {"loss": total}) == {
        "loss": pytest.approx(expected / 5, rel=1e-5),
        "rmse": pytest.approx(np.sqrt(np.mean(errors**2)), rel=1e-5),
    }


class Line(nn.Module):
    """The sum of a point's coordinates plus a number, which is 1 at first."""

    @nn.compact
    def __call__(self, x: Any, *, train: bool = False) -> Any:
        return x.sum(axis=1, keepdims=True) + self.param("bias", nn.initializers.ones, (1, 1))


def test_points_instead_of_images() -> None:
    task = Regression(Line())
    params, model_state = task.init(jax.random.key(0), image_spec((2,)))
    points, weight = jnp.array([[1.0, 2.0], [0.0, 0.0]]), jnp.ones(2)
    batch = {"image": points, "label": jnp.array([[4.0], [3.0]]), "weight": weight}
    (total, (_, sums)), gradient = jax.value_and_grad(task.loss_fn, has_aux=True)(
        params, model_state, batch, jax.random.key(0), True
    )
    assert total == 4 and gradient["bias"] == -4
    assert task.summarize(sums | {"loss": total}) == {
        "loss": 2,
        "rmse": pytest.approx(np.sqrt(2)),
    }


def test_what_is_wrong_is_told(no_shape_hook: None) -> None:
    with pytest.raises(ConfigError, match="'squared', 'absolute', 'huber', got 'l2'"):
        Regression(ConvNet(), loss="l2")  # type: ignore[arg-type]
    task = Regression(ConvNet(norm="frozen"))
    params, model_state = task.init(jax.random.key(0), image_spec((8, 8, 1)))
    batch = batch_of(6) | {"label": jnp.zeros(6)}
    with pytest.raises(ValueError, match=r"outputs of shape \(6, 4\) .* got \(6,\)"):
        task.loss_fn(params, model_state, batch, jax.random.key(0), True)
