"""One training step and one evaluation step, as pure functions.

How they are spread over devices is decided elsewhere (``parallel.py``). A loss function is

    loss_fn(params, model_state, batch, key, train) -> (loss, (model_state, sums))

where ``loss`` is a weighted *sum* over the batch's examples and ``sums`` a dict of further
sums, among them ``weight``, the sum of the examples' weights. Sums, not means: they add up
exactly over devices, accumulated micro-batches and a short last batch.
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import optax
from jax import lax
from jaxtyping import Array, Key, PyTree

from cnn_jax.training.state import TrainState, evaluated_params
from cnn_jax.training.trainable import Trainable, join_params, split_params

Batch = dict[str, Any]
LossFn = Callable[..., tuple[Array, tuple[PyTree, dict[str, Array]]]]
Prepare = Callable[[Batch, Key[Array, ""], bool], Batch]


def make_train_step(
    loss_fn: LossFn,
    optimizer: optax.GradientTransformation,
    *,
    prepare: Prepare,
    penalty: Callable[[PyTree], Array] | None = None,
    accumulate: int = 1,
    ema_decay: float = 0.0,
    layer_gradients: bool = False,
    trainable: Trainable | None = None,
    axis_name: str | None = None,
) -> Callable[[TrainState, Batch], tuple[TrainState, dict[str, Any]]]:
    """Build ``train_step(state, batch) -> (state, sums)``.

    Args:
        loss_fn: as described above.
        optimizer: what makes updates of the mean gradient.
        prepare: augments and normalizes a raw batch, inside the step.
        penalty: a term of the objective that depends on the parameters alone (L2).
        accumulate: number of micro-batches that a batch is cut into, one after another.
        ema_decay: decay a step of the moving average of the parameters, if the state has one.
        layer_gradients: also sum up the norm of each layer's gradient, by the layer's path.
        trainable: which parameters train; the others get no gradient, penalty, decay or update,
            and keep their bits. None: all train.
        axis_name: the mapped axis under ``pmap``; None under ``jit``, where the batch is global.
    """

    def loss_of_trained(trained: PyTree, held: PyTree, *others: Any) -> Any:
        return loss_fn(join_params(trained, held), *others)

    gradient = jax.value_and_grad(loss_of_trained, has_aux=True)

    def train_step(state: TrainState, batch: Batch) -> tuple[TrainState, dict[str, Any]]:
        key = jax.random.fold_in(state.key, state.step)
        augment_key, model_key = jax.random.split(key)
        batch = prepare(batch, augment_key, True)
        trained, held = split_params(state.params, trainable)
        if axis_name:
            model_key = jax.random.fold_in(model_key, lax.axis_index(axis_name))

        def micro_step(model_state: PyTree, micro: Batch, index: int | Array) -> Any:
            micro_key = jax.random.fold_in(model_key, index)
            (loss, (model_state, sums)), grads = gradient(
                trained, held, model_state, micro, micro_key, True
            )
            return model_state, (grads, sums | {"loss": loss})

        if accumulate == 1:
            model_state, (grads, sums) = micro_step(state.model_state, batch, 0)
        else:
            model_state, (grads, sums) = _accumulated(
                micro_step, state.model_state, batch, accumulate
            )
        if axis_name:
            grads, sums = lax.psum((grads, sums), axis_name)

        weight = jnp.maximum(sums["weight"], jnp.finfo(sums["weight"].dtype).tiny)
        grads = jax.tree.map(lambda g: g / weight.astype(g.dtype), grads)
        if penalty is not None:
            grads = jax.tree.map(jnp.add, grads, jax.grad(penalty)(trained))
        grad_norm = optax.tree.norm(grads)
        finite = jnp.isfinite(sums["loss"]) & jnp.isfinite(grad_norm)
        sums = sums | {
            "grad_norm": grad_norm,
            "steps": jnp.ones(()),
            "finite_steps": finite.astype(jnp.float32),
        }
        if layer_gradients:
            sums["layer_grad_norm"] = layer_norms(grads)

        updates, opt_state = optimizer.update(grads, state.opt_state, trained)
        updates = jax.tree.map(lambda u: u * state.control.scale.astype(u.dtype), updates)
        trained = optax.apply_updates(trained, updates)
        ema = state.ema
        if ema is not None:
            # Early averages forget the random start quickly, as TensorFlow's EMA does.
            decay = jnp.minimum(ema_decay, (1.0 + state.step) / (10.0 + state.step))
            average = split_params(ema, trainable)[0]
            ema = join_params(optax.incremental_update(trained, average, 1.0 - decay), held)
        return state.replace(
            step=state.step + 1,
            params=join_params(trained, held),
            model_state=model_state,
            opt_state=opt_state,
            ema=ema,
        ), sums

    return train_step


def layer_names(params: PyTree) -> list[str]:
    """The paths of the layers that own parameters, such as "body/conv1"."""
    return list(jax.eval_shape(layer_norms, params))


def layer_norms(grads: PyTree) -> dict[str, Array]:
    """The norm of each layer's gradient (kernel and bias together), by the layer's path."""
    layers: dict[str, list[Array]] = {}
    for path, leaf in jax.tree_util.tree_leaves_with_path(grads):
        layers.setdefault("/".join(key.key for key in path[:-1]), []).append(leaf)
    return {name: optax.tree.norm(leaves) for name, leaves in layers.items()}


def _accumulated(micro_step: Callable, model_state: PyTree, batch: Batch, count: int) -> Any:
    """Run the micro-batches one after another and add up what they give."""

    def cut(array: Array) -> Array:
        # Micro-batch i takes examples i, i + count, …, so that each is spread over all devices.
        return array.reshape(array.shape[0] // count, count, *array.shape[1:]).swapaxes(0, 1)

    micros = jax.tree.map(cut, batch)

    def body(carry: Any, item: Any) -> Any:
        model_state, totals = carry
        model_state, parts = micro_step(model_state, *item)
        return (model_state, jax.tree.map(jnp.add, totals, parts)), None

    first = jax.tree.map(lambda a: a[0], micros)
    shapes = jax.eval_shape(micro_step, model_state, first, 0)[1]
    zeros = jax.tree.map(lambda s: jnp.zeros(s.shape, s.dtype), shapes)
    (model_state, totals), _ = lax.scan(body, (model_state, zeros), (micros, jnp.arange(count)))
    return model_state, totals


def make_eval_step(
    loss_fn: LossFn, *, prepare: Prepare, axis_name: str | None = None
) -> Callable[[TrainState, Batch], dict[str, Array]]:
    """Build ``eval_step(state, batch) -> sums``; examples of weight 0 count for nothing."""

    def eval_step(state: TrainState, batch: Batch) -> dict[str, Array]:
        batch = prepare(batch, state.key, False)
        loss, (_, sums) = loss_fn(
            evaluated_params(state), state.model_state, batch, state.key, False
        )
        sums = sums | {"loss": loss}
        return lax.psum(sums, axis_name) if axis_name else sums

    return eval_step
