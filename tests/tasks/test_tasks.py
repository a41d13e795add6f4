"""What all tasks promise alike: the protocol, weights, devices, and any linen module."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn

from cnn_jax.data import ArraySplit, Dataset
from cnn_jax.layers import BatchNorm, Conv
from cnn_jax.tasks import Classification, Reconstruction, Regression
from cnn_jax.training import Task
from tests.tasks.specs import image_spec
from tests.tolerance import assert_close
from tests.training.small import ConvNet, advance, blobs, ways


class ImageNet(nn.Module):
    """Gives an image of the input's shape; has BatchNorm."""

    norm: str = "batch"

    @nn.compact
    def __call__(self, x: Any, *, train: bool = False) -> Any:
        norm = BatchNorm(frozen=self.norm == "frozen")
        return Conv(1, 3, padding=1)(norm(x, train=train))


class Plain(nn.Module):
    """A module without the house's attributes, and with dropout."""

    @nn.compact
    def __call__(self, x: Any, *, train: bool = False) -> Any:
        x = nn.Dropout(0.5, deterministic=not train)(x.reshape(len(x), 64))
        return nn.Dense(4)(x)


IMAGES = image_spec((8, 8, 1))
TASKS: dict[str, Callable[[str], Any]] = {
    "softmax": lambda norm: Classification(ConvNet(norm=norm), label_smoothing=0.1),
    "hinge": lambda norm: Classification(ConvNet(norm=norm), loss="hinge"),
    "logistic": lambda norm: Classification(ConvNet(norm=norm), loss="logistic"),
    "squared": lambda norm: Classification(ConvNet(norm=norm), loss="squared"),
    "regression": lambda norm: Regression(ConvNet(norm=norm), loss="huber"),
    "reconstruction": lambda norm: Reconstruction(ImageNet(norm), loss="bernoulli"),
}


def labels(name: str, classes: np.ndarray) -> np.ndarray:
    """Class numbers; for a regression, four numbers that depend on them."""
    if name != "regression":
        return classes
    return np.sin(classes[:, None] + np.arange(4)).astype(np.float32)


def batch_of(name: str, weight: np.ndarray) -> dict[str, Any]:
    rng = np.random.default_rng(0)
    n = len(weight)
    return {
        "image": jnp.asarray(rng.random((n, 8, 8, 1)), jnp.float32),
        "label": jnp.asarray(labels(name, rng.integers(4, size=n).astype(np.int32))),
        "weight": jnp.asarray(weight, jnp.float32),
    }


def value_and_gradient(task: Any, batch: dict[str, Any], train: bool = True) -> Any:
    params, model_state = task.init(jax.random.key(0), IMAGES)
    function = jax.value_and_grad(task.loss_fn, has_aux=True)
    return jax.jit(function, static_argnums=4)(params, model_state, batch, jax.random.key(1), train)


@pytest.mark.parametrize("name", TASKS)
def test_protocol(name: str) -> None:
    task = TASKS[name]("batch")
    assert isinstance(task, Task)
    assert task.metrics[0] == "loss" and task.best_metric in task.metrics
    assert task.higher_is_better == (task.best_metric == "accuracy")
    (loss, (_, sums)), _ = value_and_gradient(task, batch_of(name, np.ones(6)))
    assert tuple(task.summarize(sums | {"loss": loss})) == task.metrics
    nothing = {name: 0.0 for name in sums | {"loss": loss}}
    assert set(task.summarize(nothing).values()) == {0.0}


@pytest.mark.parametrize("train", [True, False])
@pytest.mark.parametrize("name", TASKS)
def test_examples_of_weight_zero_count_for_nothing(name: str, train: bool) -> None:
    weight = np.array([1, 0, 1, 1, 0, 1])
    whole = batch_of(name, weight)
    rest = {key: array[weight > 0] for key, array in whole.items()}
    task = TASKS[name]("frozen")
    actual, expected = (value_and_gradient(task, batch, train) for batch in (whole, rest))
    assert_close(actual, expected, rtol=1e-5, atol=1e-6)
    (_, (_, sums)), _ = actual
    assert float(sums["weight"]) == 4


@pytest.mark.parametrize("name", TASKS)
def test_empty_batch(name: str) -> None:
    (loss, (_, sums)), gradient = value_and_gradient(
        TASKS[name]("frozen"), batch_of(name, np.ones(0))
    )
    for array in jax.tree.leaves((loss, sums, gradient)):
        assert np.all(np.asarray(array) == 0)


@pytest.mark.parametrize(
    "name",
    [
        "hinge",
        "reconstruction",
        *(pytest.param(n, marks=pytest.mark.full) for n in ("logistic", "squared", "regression")),
    ],
)
def test_one_device_is_eight(name: str) -> None:
    arrays = blobs(0, 32).arrays
    data = Dataset(
        name="blobs",
        title="blobs",
        splits={
            "train": ArraySplit({"image": arrays["image"], "label": labels(name, arrays["label"])})
        },
        class_names=("a", "b", "c", "d"),
        mean=(0.0,),
        std=(1.0,),
    )
    with jax.enable_x64(True):
        results = {
            way: advance(parallel, TASKS[name]("batch"), data, 2)
            for way, parallel in ways().items()
        }
    assert_close(results["jit"], results["one device"], rtol=1e-9, atol=1e-12)
    assert_close(results["pmap"], results["one device"], rtol=1e-9, atol=1e-12)


def test_any_module_trains() -> None:
    task = Classification(Plain())
    batch = batch_of("softmax", np.ones(6))
    (loss, (model_state, _)), _ = value_and_gradient(task, batch)
    (at_test, _), _ = value_and_gradient(task, batch, train=False)
    assert model_state == {}
    assert loss != at_test, "dropout is for training"
