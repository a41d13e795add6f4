"""Plain Flax's sides: a jitted step of `flax.linen` and `optax` in a Python loop."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax.traverse_util import unflatten_dict
from jax import Array

from experiments.tools.bench.cases import Case, noise, order_file, weights_file
from experiments.tools.bench.flax_models import MODELS
from experiments.tools.bench.side import RunSteps
from experiments.tools.compilation_cache import keep_compiled_programs


class LoadedCase:
    """Model, data and loss of a case, with the arguments of `pytorch.LoadedCase`."""

    def __init__(
        self,
        case: Mapping[str, Any],
        batch_size: int,
        *,
        directory: str,
        precision: str = "float32",
        train: bool,
    ) -> None:
        from safetensors.numpy import load_file

        keep_compiled_programs()
        self.case, self.batch_size = Case(**case), batch_size
        dtype = jnp.bfloat16 if precision == "bfloat16" else None
        self.model = MODELS[self.case.model](self.case.num_classes, train, dtype)
        flat = load_file(weights_file(Path(directory), "ours"))
        variables = jax.tree.map(jnp.asarray, unflatten_dict(flat, sep="/"))
        self.params = variables.pop("params")
        self.statistics = variables
        images, labels = noise(self.case, batch_size).values()
        self.data = {"image": jnp.asarray(images), "label": jnp.asarray(labels)}
        self.order = np.load(order_file(Path(directory)))

    def loss(
        self, params: Any, statistics: Any, data: dict[str, Array], places: Array
    ) -> tuple[Array, Any]:
        """Mean loss of the examples at the given places, and the new statistics."""
        images = data["image"][places].astype(jnp.float32) / 255
        images = (images - self.case.mean) / self.case.std
        variables = {"params": params, **statistics}
        outputs, statistics = self.model.apply(variables, images, mutable=list(statistics))
        if self.case.task != "reconstruction":
            labels = data["label"][places]
            losses = optax.softmax_cross_entropy_with_integer_labels(outputs, labels)
        else:
            losses = jnp.sum(jnp.square(jax.nn.sigmoid(outputs) - images), axis=(1, 2, 3))
        return losses.mean(), statistics


def training(**arguments: Any) -> RunSteps:
    """Gradient and update, jitted with donated arguments; see `LoadedCase`."""
    loaded = LoadedCase(train=True, **arguments)
    case, size = loaded.case, loaded.batch_size
    if case.optimizer == "sgd":
        optimizer = optax.sgd(case.learning_rate, 0.9, nesterov=True)
    else:
        optimizer = optax.adam(case.learning_rate)

    def objective(params: Any, *others: Any) -> tuple[Array, Any]:
        loss, statistics = loaded.loss(params, *others)
        penalty = jnp.zeros(())
        if case.l2:
            squares = [jnp.sum(jnp.square(p)) for p in jax.tree.leaves(params)]
            penalty = 0.5 * case.l2 * sum(squares, penalty)
        return loss + penalty, (loss, statistics)

    def step(carry: Any, data: dict[str, Array], places: Array) -> tuple[Any, Array]:
        params, statistics, opt_state = carry
        gradients, (loss, statistics) = jax.grad(objective, has_aux=True)(
            params, statistics, data, places
        )
        updates, opt_state = optimizer.update(gradients, opt_state, params)
        return (optax.apply_updates(params, updates), statistics, opt_state), loss

    compiled = jax.jit(step, donate_argnums=0)
    carry = (loaded.params, loaded.statistics, optimizer.init(loaded.params))
    batches, done = len(loaded.order) // size, 0

    def run(n: int) -> list[float]:
        nonlocal carry, done
        losses = []
        for _ in range(n):
            start = done % batches * size
            carry, loss = compiled(carry, loaded.data, loaded.order[start : start + size])
            losses.append(loss)
            done += 1
        jax.block_until_ready(carry)
        return [float(np.mean(losses))]

    return run


def inference(**arguments: Any) -> RunSteps:
    """Jitted forward passes of one batch in evaluation mode."""
    loaded = LoadedCase(train=False, **arguments)
    compiled = jax.jit(lambda *inputs: loaded.loss(*inputs)[0])
    places = jnp.arange(loaded.batch_size)

    def run(n: int) -> list[float]:
        for _ in range(n):
            loss = float(compiled(loaded.params, loaded.statistics, loaded.data, places))
        return [loss]

    return run
