"""Classification: which loss it is trained with, smoothing, soft labels, and the metrics."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn

from cnn_jax.data import from_arrays
from cnn_jax.errors import ConfigError
from cnn_jax.layers import Conv, Linear
from cnn_jax.tasks import (
    Classification,
    multiclass_hinge_loss,
    one_hot_squared_error,
    one_versus_rest_logistic_loss,
    softmax_cross_entropy,
)
from tests.tasks.specs import image_spec
from tests.tolerance import assert_close
from tests.training.small import ConvNet, advance, dataset, ways


class WithAuxiliary(nn.Module):
    """A classifier and two more, which only training sees, as GoogLeNet."""

    norm: str = "frozen"

    def setup(self) -> None:
        self.body = ConvNet(5, norm=self.norm)
        self.heads = [Linear(4) for _ in range(3)]

    def __call__(self, x: jax.Array, *, train: bool = False) -> jax.Array | tuple[jax.Array, ...]:
        features = self.body(x, train=train)
        head, *auxiliary = self.heads
        logits = head(features)
        if train or self.is_initializing():
            outputs = (logits, *(head(features) for head in auxiliary))
        return outputs if train else logits


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
    params, model_state = task.init(jax.random.key(0), image_spec((8, 8, 1)))
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
    with pytest.raises(ConfigError, match="'softmax', 'focal', 'hinge', .*, got 'l2'"):
        Classification(ConvNet(), loss="l2")  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="0.1 is for the softmax loss, not for 'hinge'"):
        Classification(ConvNet(), loss="hinge", label_smoothing=0.1)
    with pytest.raises(ConfigError, match="between 0 and 1, got -0.1"):
        Classification(ConvNet(), label_smoothing=-0.1)
    for weight in (-0.1, float("inf"), float("nan")):
        with pytest.raises(ConfigError, match=f"not negative, got {weight}"):
            Classification(ConvNet(), auxiliary_weight=weight)
        with pytest.raises(ConfigError, match=f"focal_gamma must .* not negative, got {weight}"):
            Classification(ConvNet(), loss="focal", focal_gamma=weight)
        with pytest.raises(ConfigError, match=r"class_weights must .* not negative, got \(1.0, "):
            Classification(ConvNet(), class_weights=(1.0, weight))
    with pytest.raises(ConfigError, match="are for the losses softmax and focal, not for 'hinge'"):
        Classification(ConvNet(), loss="hinge", class_weights=(1.0, 2.0))


class Pixels(nn.Module):
    """Logits of each pixel."""

    @nn.compact
    def __call__(self, x: jax.Array, *, train: bool = False) -> jax.Array:
        return Conv(4, 1)(x)


@pytest.mark.parametrize("model", [ConvNet(norm="frozen"), Pixels()])
@pytest.mark.parametrize("loss", ["softmax", "focal"])
def test_class_weights_and_ignored_labels(model: nn.Module, loss: str) -> None:
    """The loss is the weighted mean, the accuracy that of the labels that count."""
    weights, ignored = (0.5, 2.0, 1.0, 4.0), 255
    task = Classification(
        model, loss=loss, class_weights=weights, ignore_index=ignored, focal_gamma=1.0
    )
    batch = batch_of(6, np.array([1, 1, 0, 1, 1, 1]))
    space = (8, 8) if isinstance(model, Pixels) else ()
    labels = np.random.default_rng(1).integers(4, size=(6, *space))
    labels[1] = ignored
    batch["label"] = jnp.asarray(labels, jnp.int32)
    params, model_state = task.init(jax.random.key(0), image_spec((8, 8, 1)))
    total, (_, sums) = jax.jit(task.loss_fn, static_argnums=4)(
        params, model_state, batch, jax.random.key(1), True
    )
    outputs = np.asarray(task.predict(params, model_state, batch), np.float64)
    counts = np.broadcast_to(batch["weight"].reshape(6, *[1] * len(space)), labels.shape) > 0
    counts &= labels != ignored
    p = np.exp(outputs) / np.exp(outputs).sum(-1, keepdims=True)
    p, weight = p[counts, labels[counts]], np.array(weights)[labels[counts]]
    losses = -weight * (1 - p) ** (loss == "focal") * np.log(p)
    correct = outputs.argmax(-1)[counts] == labels[counts]
    assert task.summarize(sums | {"loss": total}) == {
        "loss": pytest.approx(losses.sum() / weight.sum(), rel=1e-5),
        "accuracy": pytest.approx(correct.mean()),
    }


def test_a_batch_of_ignored_labels_trains_nothing() -> None:
    task = Classification(ConvNet(norm="frozen"), ignore_index=-1)
    batch = batch_of(4, np.ones(4)) | {"label": jnp.full(4, -1)}
    params, model_state = task.init(jax.random.key(0), image_spec((8, 8, 1)))
    (total, (_, sums)), gradients = jax.value_and_grad(task.loss_fn, has_aux=True)(
        params, model_state, batch, jax.random.key(1), True
    )
    assert total == sums["weight"] == sums["labels"] == 0
    assert not any(np.any(leaf) for leaf in jax.tree.leaves(gradients))


def test_smoothing_is_for_training_alone() -> None:
    smooth = Classification(ConvNet(norm="frozen"), label_smoothing=0.3)
    sharp = Classification(ConvNet(norm="frozen"))
    params, model_state = smooth.init(jax.random.key(0), image_spec((8, 8, 1)))
    batch, key = batch_of(6, np.ones(6)), jax.random.key(1)
    at_test = [task.loss_fn(params, model_state, batch, key, False)[0] for task in (smooth, sharp)]
    in_training = [
        task.loss_fn(params, model_state, batch, key, True)[0] for task in (smooth, sharp)
    ]
    assert at_test[0] == at_test[1] == in_training[1] != in_training[0]


def test_accuracy_and_summary() -> None:
    task = Classification(ConvNet(norm="frozen"))
    params, model_state = task.init(jax.random.key(0), image_spec((8, 8, 1)))
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
    nothing = {"loss": 0.0, "weight": 0.0, "labels": 0.0, "correct": 0.0}
    assert task.summarize(nothing) == {"loss": 0.0, "accuracy": 0.0}


def auxiliary_case(**attributes: Any) -> tuple[Any, ...]:
    task = Classification(WithAuxiliary(), **attributes)
    params, model_state = task.init(jax.random.key(0), image_spec((8, 8, 1)))
    batch = batch_of(6, np.array([1, 1, 0, 1, 1, 1]))
    outputs = task.model.apply({"params": params, **model_state}, batch["image"], train=True)
    return task, params, model_state, batch, outputs


@pytest.mark.parametrize(
    ("loss", "smoothing"), [("softmax", 0.0), ("softmax", 0.1), ("hinge", 0.0)]
)
def test_losses_of_auxiliary_classifiers_are_added_with_their_weight(
    loss: str, smoothing: float
) -> None:
    task, params, model_state, batch, outputs = auxiliary_case(
        loss=loss, label_smoothing=smoothing, auxiliary_weight=0.25
    )
    total, (_, sums) = task.loss_fn(params, model_state, batch, jax.random.key(1), True)
    options = {"label_smoothing": smoothing} if smoothing else {}
    main, first, second = (
        np.asarray(LOSSES[loss](output, batch["label"], **options)) for output in outputs
    )
    weight = np.asarray(batch["weight"])
    assert_close(total, (main + 0.25 * (first + second)) @ weight, rtol=1e-6)
    correct = np.argmax(outputs[0], axis=-1) == np.asarray(batch["label"])
    assert float(sums["correct"]) == correct @ weight
    assert set(sums) == {"weight", "labels", "correct"}


def test_evaluation_and_predictions_are_of_the_first_classifier_alone() -> None:
    task, params, model_state, batch, outputs = auxiliary_case(label_smoothing=0.1)
    total, _ = task.loss_fn(params, model_state, batch, jax.random.key(1), False)
    losses = softmax_cross_entropy(outputs[0], batch["label"])
    assert_close(total, losses @ batch["weight"], rtol=1e-6)
    assert_close(task.predict(params, model_state, batch), outputs[0], rtol=1e-6)


def test_gradients_of_auxiliary_classifiers_are_weighted() -> None:
    def gradient(weight: float, train: bool = True) -> dict:
        task, params, model_state, batch, _ = auxiliary_case(auxiliary_weight=weight)
        gradients = jax.grad(task.loss_fn, has_aux=True)
        return gradients(params, model_state, batch, jax.random.key(1), train)[0]

    without, half, whole = map(gradient, (0.0, 0.5, 1.0))
    for head in ("heads_1", "heads_2"):
        assert not np.any(without[head]["kernel"])
        assert_close(half[head], jax.tree.map(lambda g: g / 2, whole[head]), rtol=1e-6)
        assert np.any(half[head]["kernel"])
    assert_close(half["heads_0"], without["heads_0"], rtol=1e-6)
    # What they teach the body is added to what the first classifier does.
    added = jax.tree.map(lambda a, b: (a + b) / 2, without["body"], whole["body"])
    assert_close(half["body"], added, rtol=1e-4, atol=1e-6)
    assert not np.allclose(
        half["body"]["Linear_0"]["kernel"], without["body"]["Linear_0"]["kernel"]
    )
    assert_close(gradient(0.5, train=False), without, rtol=1e-6)


def test_auxiliary_losses_are_the_same_on_eight_devices() -> None:
    with jax.enable_x64(True):
        results = {
            way: advance(parallel, Classification(WithAuxiliary("batch")), dataset(), 2)
            for way, parallel in ways().items()
        }
    assert_close(results["jit"], results["one device"], rtol=1e-9, atol=1e-12)
    assert_close(results["pmap"], results["one device"], rtol=1e-9, atol=1e-12)


def test_a_data_set_without_labels_is_refused() -> None:
    masks = {
        "train": {"image": np.zeros((20, 4, 4, 1), np.uint8), "mask": np.zeros((20, 4, 4), int)}
    }
    without = from_arrays(masks, class_names=("a", "b"))
    with pytest.raises(ConfigError, match="needs a label of every image: arrays has image, mask"):
        Classification(WithAuxiliary("batch")).check(without)
