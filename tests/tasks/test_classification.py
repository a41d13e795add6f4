"""The loss against its formula in float64, its weights, and the metrics."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from cnn_jax.tasks import Classification, softmax_cross_entropy
from tests.tolerance import assert_close
from tests.training.small import ConvNet


def by_hand(logits: np.ndarray, labels: np.ndarray, smoothing: float = 0.0) -> np.ndarray:
    """PyTorch's documented formula: targets (1 - s) * one hot + s / classes."""
    shifted = logits - logits.max(axis=1, keepdims=True)
    log_p = shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True))
    targets = np.eye(logits.shape[1])[labels] * (1 - smoothing) + smoothing / logits.shape[1]
    return -(targets * log_p).sum(axis=1)


LOGITS = np.array([[1.0, 2.0, 3.0], [1e3, -1e3, 0.0], [-1e4, 1e4, 1e4], [0.0, 0.0, 0.0]])
LABELS = np.array([2, 1, 0, 1], np.int32)


@pytest.mark.parametrize("smoothing", [0.0, 0.1, 1.0])
def test_loss_at_extreme_logits(smoothing: float) -> None:
    with jax.enable_x64(True):
        actual = softmax_cross_entropy(
            jnp.asarray(LOGITS), jnp.asarray(LABELS), label_smoothing=smoothing
        )
        assert_close(actual, by_hand(LOGITS, LABELS, smoothing))
    narrow = softmax_cross_entropy(
        jnp.asarray(LOGITS, jnp.float32), jnp.asarray(LABELS), label_smoothing=smoothing
    )
    assert_close(narrow, by_hand(LOGITS, LABELS, smoothing), rtol=1e-6)


def test_values_worked_out_by_hand() -> None:
    uniform = softmax_cross_entropy(jnp.zeros((1, 10)), jnp.array([3]))
    assert_close(uniform, np.array([np.log(10)]), rtol=1e-6)
    # torch.nn.functional.cross_entropy(tensor([[1., 2., 3.]]), tensor([2]), label_smoothing=0.1)
    smooth = softmax_cross_entropy(
        jnp.array([[1.0, 2.0, 3.0]]), jnp.array([2]), label_smoothing=0.1
    )
    assert_close(smooth, np.array([0.5076060]), rtol=1e-6)


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_gradient_is_softmax_minus_target(smoothing: float) -> None:
    with jax.enable_x64(True):
        gradient = jax.grad(
            lambda z: softmax_cross_entropy(z, jnp.asarray(LABELS), label_smoothing=smoothing).sum()
        )(jnp.asarray(LOGITS))
    shifted = np.exp(LOGITS - LOGITS.max(axis=1, keepdims=True))
    targets = np.eye(3)[LABELS] * (1 - smoothing) + smoothing / 3
    assert_close(gradient, shifted / shifted.sum(axis=1, keepdims=True) - targets)


def test_it_is_pytorchs() -> None:
    torch = pytest.importorskip("torch")
    with jax.enable_x64(True):
        actual = softmax_cross_entropy(
            jnp.asarray(LOGITS), jnp.asarray(LABELS), label_smoothing=0.2
        )
        expected = torch.nn.functional.cross_entropy(
            torch.tensor(LOGITS),
            torch.tensor(LABELS, dtype=torch.long),
            label_smoothing=0.2,
            reduction="none",
        )
        assert_close(actual, expected.numpy())


def batch_of(n: int, weight: np.ndarray) -> dict:
    rng = np.random.default_rng(0)
    return {
        "image": jnp.asarray(rng.normal(size=(n, 8, 8, 1)), jnp.float32),
        "label": jnp.asarray(rng.integers(4, size=n), jnp.int32),
        "weight": jnp.asarray(weight, jnp.float32),
    }


@pytest.mark.parametrize("train", [True, False])
def test_examples_of_weight_zero_count_for_nothing(train: bool) -> None:
    task = Classification(ConvNet(norm="frozen"), label_smoothing=0.1)
    params, model_state = task.init(jax.random.key(0), (8, 8, 1))
    weight = np.array([1, 0, 1, 1, 0, 1])
    whole = batch_of(6, weight)
    rest = {name: array[weight > 0] for name, array in whole.items()}
    results = [
        jax.value_and_grad(task.loss_fn, has_aux=True)(
            params, model_state, batch, jax.random.key(1), train
        )
        for batch in (whole, rest)
    ]
    assert_close(results[0], results[1], rtol=1e-5, atol=1e-7)
    (_, (_, sums)), _ = results[0]
    assert float(sums["weight"]) == 4


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
