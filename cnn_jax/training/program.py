"""What a run trains, as pure functions: the contract between an experiment and the loop.

The default program is `training.supervised`: one task and one optimizer. A generative adversarial
network, word vectors or anything else with updates of its own writes another, and shares loop,
feeds, checkpoints, resume and logs.

A batch holds the entries of the data set's examples, each with a leading batch axis, and besides

- ``slot``: int32, the example's place in the global batch, from which randomness is derived;
- ``place``: int32, its place in the split;
- ``weight``: 1, or 0 for the padding of a last batch.

What a training step returns beside the state are sums. They add up over steps:

- ``loss``, and ``weight``, what the loss is divided by (images, pixels, tokens, boxes);
- ``examples``: what progress and rates count;
- ``steps`` and ``finite_steps``, those whose loss and gradient were finite;
- ``per_step``: a dict of what is averaged over steps, such as ``learning_rate`` and ``grad_norm``;
- whatever ``summarize`` reads.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

import jax.numpy as jnp
import optax
from jaxtyping import Array, Key, PyTree

from cnn_jax.training.control import ControlConfig
from cnn_jax.training.mapped import sum_over_devices
from cnn_jax.training.state import TrainState

Batch = dict[str, Any]
Sums = dict[str, Any]
Metrics = dict[str, float]
Variables = dict[str, Any]
"""A model's variables as Flax names them: "params", and collections such as "batch_stats"."""


class Evaluated(NamedTuple):
    """What the evaluation of a batch gives, on one device or all of them."""

    sums: Sums
    """Added up over all batches, in float64; empty: none."""
    rows: PyTree = None
    """Arrays with one row an example, collected on the host in the order of the split."""
    carry: PyTree = None
    """Handed to the next batch."""


@dataclass(frozen=True)
class Program:
    """A training as pure functions of its state; it knows no device, file or clock.

    Attributes:
        init: ``init(key, change)`` gives the state before the first step. ``change`` maps fresh
            variables to those that training starts from; it may be the identity.
        train_step: ``train_step(state, batch)`` gives the next state and the step's sums.
        predict: ``predict(state, batch)`` gives the outputs, arrays with one row an example.
        evaluate: ``evaluate(state, batch, carry)`` gives an `Evaluated`.
        init_carry: ``init_carry(n)`` gives the carry of an evaluation before its first batch of
            n examples.
        summarize: the metrics of added-up sums, on the host.
        measure: the metrics of all collected rows, on the host; None where there are no rows.
        metrics: names of all that ``summarize`` and ``measure`` give.
        best_metric: the one that plateau, early stopping and the best checkpoint follow.
        higher_is_better: its direction.
        adapt: ``adapt(control, metrics, config)`` gives the state's ``control`` after an
            evaluation; None follows ``best_metric``.
        remark: what the user should know of the metrics of a row; "" is nothing.
        counted: what the sum ``examples`` counts, for people who read the rate.
    """

    init: Callable[[Key[Array, ""], Callable[[Variables], Variables]], TrainState]
    train_step: Callable[[TrainState, Batch], tuple[TrainState, Sums]]
    predict: Callable[[TrainState, Batch], PyTree]
    evaluate: Callable[[TrainState, Batch, PyTree], Evaluated]
    summarize: Callable[[Sums], Metrics]
    metrics: tuple[str, ...]
    best_metric: str
    higher_is_better: bool
    measure: Callable[[PyTree], Metrics] | None = None
    init_carry: Callable[[int], PyTree] = lambda batch_size: None
    adapt: Callable[[Any, Metrics, ControlConfig], Any] | None = None
    remark: Callable[[Metrics], str] = lambda metrics: ""
    counted: str = "examples"


def step_sums(
    loss: Array,
    grads: PyTree,
    batch: Batch,
    *,
    weight: Array,
    per_step: dict[str, Array] | None = None,
    **sums: Array,
) -> Sums:
    """The sums of one training step, by the names of the contract.

    Args:
        loss: sum over the batch of all devices.
        grads: the gradient that the update is made of; its norm is logged, and tells with the
            loss whether the step was finite.
        batch: what the step has seen; its ``weight`` counts the examples.
        weight: what the loss is divided by, over all devices.
        per_step: what else is averaged over steps.
        sums: what ``summarize`` reads besides, over all devices.
    """
    grad_norm = optax.tree.norm(grads)
    finite = jnp.isfinite(loss) & jnp.isfinite(grad_norm)
    return {
        **sums,
        "loss": loss,
        "weight": weight,
        "examples": sum_over_devices(jnp.sum(batch["weight"])),
        "steps": jnp.ones(()),
        "finite_steps": finite.astype(jnp.float32),
        "per_step": {"grad_norm": grad_norm, **(per_step or {})},
    }


def training_metrics(program: Program, sums: Sums) -> Metrics:
    """The metrics of a training row: the mean loss, the task's own, and means over steps."""
    loss = float(sums["loss"]) / max(float(sums["weight"]), 1e-30)
    per_step = {name: float(total / sums["steps"]) for name, total in sums["per_step"].items()}
    return {"loss": loss, **program.summarize(sums), **per_step}
