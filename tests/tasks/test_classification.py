"""The softmax loss and the sums of a classification task."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn
from jax.test_util import check_grads

from cnn_jax.models import cifar_resnet
from cnn_jax.tasks import Classification, softmax_cross_entropy
from tests.tolerance import assert_close

RNG = np.random.default_rng(0)


class Pixels(nn.Module):
    """One linear layer of all pixels; ``dropped`` leaves a trace of the random key."""

    axis_name: str | None = None
    dropped: bool = False

    @nn.compact
    def __call__(self, x: jax.Array, *, train: bool = False) -> jax.Array:
        x = nn.Dropout(0.5, deterministic=not (train and self.dropped))(x)
        return nn.Dense(3)(x.reshape(len(x), -1))


def batch(n: int = 6) -> dict[str, jax.Array]:
    return {
        "image": jnp.asarray(RNG.normal(size=(n, 2, 2, 1)), jnp.float32),
        "label": jnp.asarray(RNG.integers(0, 3, n), jnp.int32),
        "weight": jnp.ones(n),
        "index": jnp.arange(n, dtype=jnp.int32),
    }


EXAMPLES = batch()


def log_likelihoods(logits: np.ndarray) -> np.ndarray:
    shifted = logits - logits.max(-1, keepdims=True)
    return shifted - np.log(np.exp(shifted).sum(-1, keepdims=True))


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_loss_is_the_definition(smoothing: float) -> None:
    with jax.enable_x64(True):
        logits, labels = RNG.normal(size=(5, 4)), np.array([0, 3, 1, 1, 2])
        target = np.full((5, 4), smoothing / 4)
        target[np.arange(5), labels] += 1 - smoothing
        loss = softmax_cross_entropy(
            jnp.asarray(logits), jnp.asarray(labels), label_smoothing=smoothing
        )
        assert_close(loss, -(target * log_likelihoods(logits)).sum(-1))


def test_loss_equals_pytorch() -> None:
    torch = pytest.importorskip("torch", reason="compares with PyTorch where it is installed")
    with jax.enable_x64(True):
        logits, labels = RNG.normal(size=(5, 4)), np.array([0, 3, 1, 1, 2])
        ours = softmax_cross_entropy(jnp.asarray(logits), jnp.asarray(labels), label_smoothing=0.1)
        theirs = torch.nn.functional.cross_entropy(
            torch.tensor(logits), torch.tensor(labels), label_smoothing=0.1, reduction="none"
        )
        assert_close(ours, theirs.numpy())


def test_loss_is_finite_at_extreme_logits() -> None:
    logits = jnp.array([[1e4, -1e4, 0.0], [-1e4, -1e4, 1e4]])
    loss, gradient = jax.value_and_grad(
        lambda z: jnp.sum(softmax_cross_entropy(z, jnp.array([0, 1])))
    )(logits)
    assert float(loss) == 2e4
    assert_close(gradient, jnp.array([[0.0, 0, 0], [0, -1, 1]]))


def test_gradient() -> None:
    labels = jnp.array([0, 3, 1])

    def loss(logits: np.ndarray) -> jax.Array:
        return softmax_cross_entropy(jnp.asarray(logits), labels, label_smoothing=0.2)

    with jax.enable_x64(True):
        check_grads(loss, (jnp.asarray(RNG.normal(size=(3, 4))),), 1, ["rev"])


def test_sums_leave_out_examples_of_weight_zero() -> None:
    task = Classification(Pixels(), label_smoothing=0.1)
    params, model_state = task.init(jax.random.key(0), (2, 2, 1))
    whole = batch()
    padded = whole | {"weight": jnp.array([1.0, 1, 1, 1, 0, 0])}
    first = jax.tree.map(lambda a: a[:4], whole)
    for train in (True, False):
        of_padded = task.loss_fn(params, model_state, padded, jax.random.key(1), train)
        of_first = task.loss_fn(params, model_state, first, jax.random.key(1), train)
        assert_close(of_padded, of_first, rtol=1e-6)
        assert float(of_padded[1][1]["weight"]) == 4


def test_smoothing_and_dropout_are_for_training_alone() -> None:
    task = Classification(Pixels(dropped=True), label_smoothing=0.5)
    params, model_state = task.init(jax.random.key(0), (2, 2, 1))

    def loss(task: Classification, key: int, train: bool) -> float:
        return float(task.loss_fn(params, model_state, EXAMPLES, jax.random.key(key), train)[0])

    plain = Classification(Pixels())
    assert loss(task, 1, False) == loss(task, 2, False) == loss(plain, 1, False)
    assert loss(task, 1, True) != loss(task, 2, True)


def test_summary_is_mean_loss_and_accuracy() -> None:
    summary = Classification.summarize({"loss": 6.0, "correct": 3.0, "weight": 4.0})
    assert summary == {"loss": 1.5, "accuracy": 0.75}


def test_accuracy_counts_the_largest_logit() -> None:
    task = Classification(Pixels())
    params, model_state = task.init(jax.random.key(0), (2, 2, 1))
    logits = task.predict(params, model_state, EXAMPLES)
    _, (_, sums) = task.loss_fn(params, model_state, EXAMPLES, jax.random.key(0), False)
    assert int(sums["correct"]) == int(np.sum(np.argmax(logits, -1) == EXAMPLES["label"]))


def test_bfloat16_keeps_parameters_and_loss_in_float32() -> None:
    examples = {
        "image": jnp.asarray(RNG.normal(size=(8, 8, 8, 3)), jnp.float32),
        "label": jnp.arange(8) % 3,
        "weight": jnp.ones(8),
    }
    losses = {}
    for dtype in (None, jnp.bfloat16):
        task = Classification(cifar_resnet(8, num_classes=3, dtype=dtype))
        params, state = task.init(jax.random.key(0), (8, 8, 3))
        (loss, (state, _)), grads = jax.jit(
            jax.value_and_grad(task.loss_fn, has_aux=True), static_argnums=4
        )(params, state, examples, jax.random.key(1), True)
        assert {leaf.dtype for leaf in jax.tree.leaves((params, state, grads, loss))} == {
            jnp.dtype("float32")
        }
        losses[dtype] = float(loss)
    assert losses[jnp.bfloat16] == pytest.approx(losses[None], rel=0.03)
