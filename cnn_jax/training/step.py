"""One training step of one loss and one optimizer, as a pure function.

A loss function is

    loss_fn(params, model_state, batch, key, train) -> (loss, (model_state, sums))

where ``loss`` is a weighted *sum* over the batch and ``sums`` a dict of further sums, among them
``weight``, what the loss is to be divided by. Sums, not means: they add up exactly over devices,
accumulated micro-batches and a short last batch.
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import optax
from jax import lax
from jaxtyping import Array, PyTree

from cnn_jax.training.mapped import key_of_device, sum_over_devices
from cnn_jax.training.preprocess import Preprocess
from cnn_jax.training.program import Batch, Sums, step_sums
from cnn_jax.training.state import TrainState
from cnn_jax.training.trainable import Trainable, join_params, split_params

LossFn = Callable[..., tuple[Array, tuple[PyTree, Sums]]]


def make_train_step(
    loss_fn: LossFn,
    optimizer: optax.GradientTransformation,
    *,
    preprocess: Preprocess,
    schedule: Callable[[Any], Any] | None = None,
    penalty: Callable[[PyTree], Array] | None = None,
    accumulate: int = 1,
    ema_decay: float = 0.0,
    layer_gradients: bool = False,
    trainable: Trainable | None = None,
) -> Callable[[TrainState, Batch], tuple[TrainState, Sums]]:
    """Build ``train_step(state, batch) -> (state, sums)``.

    A carried state is part of what ``loss_fn`` sees as ``model_state``, as its collection
    ``"carry"``.

    Args:
        loss_fn: as described above.
        optimizer: makes updates of the mean gradient.
        preprocess: augments and normalizes a raw batch, inside the step.
        schedule: the optimizer's learning rate by step, to be logged.
        penalty: a term of the objective that depends on the parameters alone (L2).
        accumulate: number of micro-batches that a batch is cut into, one after another.
        ema_decay: decay a step of the moving average of the parameters, if the state has one.
        layer_gradients: also average the norm of each layer's gradient, by the layer's path.
        trainable: which parameters train; the others get no gradient, penalty, decay or update,
            and keep their bits. None: all train.
    """

    def loss_of_trained(trained: PyTree, held: PyTree, *others: Any) -> Any:
        return loss_fn(join_params(trained, held), *others)

    gradient = jax.value_and_grad(loss_of_trained, has_aux=True)

    def train_step(state: TrainState, batch: Batch) -> tuple[TrainState, Sums]:
        key = jax.random.fold_in(state.key, state.step)
        augment_key, model_key = jax.random.split(key)
        batch = preprocess(batch, augment_key, True)
        trained, held = split_params(state.params, trainable)
        model_key = key_of_device(model_key)

        def micro_step(model_state: PyTree, micro: Batch, index: int | Array) -> Any:
            micro_key = jax.random.fold_in(model_key, index)
            (loss, (model_state, sums)), grads = gradient(
                trained, held, model_state, micro, micro_key, True
            )
            return model_state, (grads, sums | {"loss": loss})

        model_state = with_carry(state.model_state, state.carry)
        if accumulate == 1:
            model_state, (grads, sums) = micro_step(model_state, batch, 0)
        else:
            model_state, (grads, sums) = _accumulated(micro_step, model_state, batch, accumulate)
        model_state, carry = without_carry(model_state)
        grads, sums = sum_over_devices((grads, sums))

        weight = jnp.maximum(sums["weight"], jnp.finfo(sums["weight"].dtype).tiny)
        grads = jax.tree.map(lambda g: g / weight.astype(g.dtype), grads)
        if penalty is not None:
            grads = jax.tree.map(jnp.add, grads, jax.grad(penalty)(trained))
        per_step = {}
        if schedule is not None:
            rate = jnp.asarray(schedule(state.step), jnp.float32)
            per_step["learning_rate"] = rate * state.control.scale
        if layer_gradients:
            per_step |= {f"grad_norm/{name}": norm for name, norm in layer_norms(grads).items()}

        updates, opt_state = optimizer.update(grads, state.opt_state, trained)
        updates = jax.tree.map(lambda u: u * state.control.scale.astype(u.dtype), updates)
        trained = optax.apply_updates(trained, updates)
        ema = state.ema
        if ema is not None:
            average = split_params(ema, trainable)[0]
            ema = join_params(moving_average(average, trained, ema_decay, state.step), held)
        state = state.replace(
            step=state.step + 1,
            params=join_params(trained, held),
            model_state=model_state,
            opt_state=opt_state,
            ema=ema,
            carry=carry,
        )
        return state, step_sums(grads=grads, batch=batch, per_step=per_step, **sums)

    return train_step


def moving_average(average: PyTree, params: PyTree, decay: float, step: Array) -> PyTree:
    """The average of parameters after a step.

    Early averages forget the random start quickly, as TensorFlow's do.

    Args:
        average: before the step.
        params: after it.
        decay: of the average, in the long run.
        step: number of steps before it.
    """
    now = jnp.minimum(decay, (1.0 + step) / (10.0 + step))
    return optax.incremental_update(params, average, 1.0 - now)


def with_carry(model_state: dict[str, Any], carry: PyTree) -> dict[str, Any]:
    """The model's collections, a carried state among them."""
    return model_state if carry is None else {**model_state, "carry": carry}


def without_carry(model_state: dict[str, Any]) -> tuple[dict[str, Any], PyTree]:
    """The model's other collections, and the carried state."""
    others = {name: tree for name, tree in model_state.items() if name != "carry"}
    return others, model_state.get("carry")


def layer_norms(grads: PyTree) -> dict[str, Array]:
    """The norm of each layer's gradient (kernel and bias together), by the layer's path."""
    layers: dict[str, list[Array]] = {}
    for path, leaf in jax.tree_util.tree_leaves_with_path(grads):
        layers.setdefault("/".join(key.key for key in path[:-1]), []).append(leaf)
    return {name: optax.tree.norm(leaves) for name, leaves in layers.items()}


def cut_batch(batch: Batch, count: int) -> Batch:
    """A batch in equal parts, [parts, examples, ...].

    Part i takes examples i, i + count, …, so that each is spread over all devices.
    """

    def cut(array: Array) -> Array:
        return array.reshape(array.shape[0] // count, count, *array.shape[1:]).swapaxes(0, 1)

    return jax.tree.map(cut, batch)


def _accumulated(micro_step: Callable, model_state: PyTree, batch: Batch, count: int) -> Any:
    """Run the micro-batches one after another and add up what they give."""
    micros = cut_batch(batch, count)

    def body(carry: Any, item: Any) -> Any:
        model_state, totals = carry
        model_state, parts = micro_step(model_state, *item)
        return (model_state, jax.tree.map(jnp.add, totals, parts)), None

    first = jax.tree.map(lambda a: a[0], micros)
    shapes = jax.eval_shape(micro_step, model_state, first, 0)[1]
    zeros = jax.tree.map(lambda s: jnp.zeros(s.shape, s.dtype), shapes)
    (model_state, totals), _ = lax.scan(body, (model_state, zeros), (micros, jnp.arange(count)))
    return model_state, totals
