"""Classification: which loss it is trained with, smoothing, soft labels, and the metrics."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from cnn_jax.errors import ConfigError
from cnn_jax.tasks import (
    Classification,
    multiclass_hinge_loss,
    one_hot_squared_error,
    one_versus_rest_logistic_loss,
    softmax_cross_entropy,
)
from tests.tolerance import assert_close
from tests.training.small import ConvNet

LOSSES = {
    "softmax": softmax_cross_entropy,
    "hinge": multiclass_hinge_loss,
    "logistic": one_versus_rest_logistic_loss,
    "squared": one_hot_squared_error,
}


def batch_of(n: int, weight: np.ndarray) -> dict:
    rng = np.random.default_rng(0)
    return {
        "image": jnp.asarray(rng.normal(size=(n, 8, 8, 1)), jnp.float32),
        "label": jnp.asarray(rng.integers(4, size=n), jnp.int32),
        "weight": jnp.asarray(weight, jnp.float32),
    }


@pytest.mark.parametrize("soft", [False, True])
@pytest.mark.parametrize("loss", LOSSES)
def test_loss_by_name(loss: str, soft: bool) -> None:
    task = Classification(ConvNet(norm="frozen"), loss=loss)
    params, model_state = task.init(jax.random.key(0), (8, 8, 1))
    batch = batch_of(6, np.array([1, 1, 0, 1, 1, 1]))
    if soft:
        batch["label"] = jax.nn.softmax(10 * jax.random.normal(jax.random.key(0), (6, 4)))
    total, (_, sums) = task.loss_fn(params, model_state, batch, jax.random.key(1), True)
    outputs = task.predict(params, model_state, batch)
    assert_close(total, LOSSES[loss](outputs, batch["label"]) @ batch["weight"], rtol=1e-5)
    label = jnp.argmax(batch["label"], axis=-1) if soft else batch["label"]
    correct = jnp.argmax(outputs, axis=-1) == label
    assert float(sums["correct"]) == jnp.sum(correct * batch["weight"])


def test_unknown_loss_and_smoothing_are_told(no_shape_hook: None) -> None:
    with pytest.raises(ConfigError, match="'softmax', 'hinge', 'logistic', 'squared', got 'l2'"):
        Classification(ConvNet(), loss="l2")  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="0.1 is for the softmax loss, not for 'hinge'"):
        Classification(ConvNet(), loss="hinge", label_smoothing=0.1)
    with pytest.raises(ConfigError, match="between 0 and 1, got -0.1"):
        Classification(ConvNet(), label_smoothing=-0.1)


def test_smoothing_is_for_training_alone() -> None:
    smooth = Classification(ConvNet(norm="frozen"), label_smoothing=0.3)
    sharp = Classification(ConvNet(norm="frozen"))
    params, model_state = smooth.init(jax.random.key(0), (8, 8, 1))
    batch, key = batch_of(6, np.ones(6)), jax.random.key(1)
    at_test = [task.loss_fn(params, model_state, batch, key, False)[0] for task in (smooth, sharp)]
    in_training = [
        task.loss_fn(params, model_state, batch, key, True)[0] for task in (smooth, sharp)
    ]
    assert at_test[0] == at_test[1] == in_training[1] != in_training[0]


def test_accuracy_and_summary() -> None:
    task = Classification(ConvNet(norm="frozen"))
    params, model_state = task.init(jax.random.key(0), (8, 8, 1))
    batch = batch_of(6, np.array([1, 1, 0, 1, 1, 1]))
    logits = task.predict(params, model_state, batch)
    assert logits.shape == (6, 4)
    batch["label"] = jnp.argmax(logits, axis=-1).at[0].add(1) % 4
    loss, (_, sums) = task.loss_fn(params, model_state, batch, jax.random.key(1), False)
    assert float(sums["correct"]) == 4
    assert task.summarize({name: np.float64(v) for name, v in (sums | {"loss": loss}).items()}) == {
        "loss": pytest.approx(float(loss) / 5),
        "accuracy": 0.8,
    }
    nothing = {"loss": 0.0, "weight": 0.0, "correct": 0.0}
    assert task.summarize(nothing) == {"loss": 0.0, "accuracy": 0.0}
