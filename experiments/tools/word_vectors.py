"""The training of word2vec as a program: stretches of text, one after another."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax

from cnn_jax.tasks import word2vec
from cnn_jax.tasks.metrics import mean
from cnn_jax.tasks.word2vec import Objective, Vectors
from cnn_jax.training import (
    Batch,
    Evaluated,
    Experiment,
    Plan,
    Program,
    Sums,
    TrainState,
    gather_over_devices,
    init_state,
    make_schedule,
    step_sums,
    sum_over_devices,
)


def word2vec_program(
    counts: Any,
    *,
    size: int,
    objective: Objective = "skip_gram",
    window: int = 5,
    negatives: float = 5.0,
    drawn: int = 64,
    threshold: float = 1e-3,
) -> Callable[[Experiment, Plan], Program]:
    """Makes the program that trains vectors on ``batch["tokens"]`` [stretches, length].

    The stretches of a batch are as many updates, one after another. Over several devices, each
    update is that of one stretch for each device. The loss is divided by the number of pairs, or
    with "cbow" of words.

    Args:
        counts: how often each word occurs in the training text.
        size: of the vectors.
        objective: "skip_gram" or "cbow".
        window: words on each side at most.
        negatives: noise words of a pair.
        drawn: noise words that the pairs of a stretch share.
        threshold: see `word2vec.keep_probabilities`.
    """
    keep = word2vec.keep_probabilities(counts, threshold)
    share = float((keep * counts).sum() / counts.sum())
    table = word2vec.noise_table(counts)

    def make(experiment: Experiment, plan: Plan) -> Program:
        config: Any = experiment.optimizer
        schedule = make_schedule(config, plan.total, plan.steps)

        def of_stretch(vectors: Vectors, tokens: Any, key: Any) -> Any:
            room = word2vec.room_for_kept(len(tokens), share)
            stretch_key, noise_key = jax.random.split(key)
            stretch = word2vec.draw_stretch(stretch_key, tokens, jnp.asarray(keep), window, room)
            bits = jax.random.bits(noise_key, (drawn,)) >> (32 - word2vec.NOISE_BITS)
            value, touched = word2vec.loss_and_gradients(
                vectors, stretch, jnp.asarray(table)[bits], objective, negatives
            )
            return value, touched, word2vec.terms(stretch, objective)

        def init(key: Any, change: Any) -> TrainState:
            vectors = word2vec.init_vectors(key, len(counts), size)
            params = change({"params": vectors._asdict()})["params"]
            return init_state(params, {}, None, key)

        def train_step(state: TrainState, batch: Batch) -> tuple[TrainState, Sums]:
            rate = schedule(state.step)
            key = jax.random.fold_in(state.key, state.step)

            def update(vectors: Vectors, one: Any) -> Any:
                tokens, slot, weight = one
                value, touched, number = of_stretch(vectors, tokens, jax.random.fold_in(key, slot))
                touched = {
                    name: (places, weight * gradients)
                    for name, (places, gradients) in touched.items()
                }
                square = sum(jnp.sum(g * g) for _, g in touched.values())
                vectors = word2vec.step_along(vectors, gather_over_devices(touched), rate)
                return vectors, (weight * value, weight * number, square)

            examples = batch["tokens"], batch["slot"], batch["weight"]
            vectors, sums = lax.scan(update, Vectors(**state.params), examples)
            loss, number, squares = sum_over_devices(jax.tree.map(jnp.sum, sums))
            state = state.replace(step=state.step + 1, params=vectors._asdict())
            per_step = {"learning_rate": jnp.asarray(rate, jnp.float32)}
            gradients = jnp.sqrt(squares)
            return state, step_sums(loss, gradients, batch, weight=number, per_step=per_step)

        def evaluate(state: TrainState, batch: Batch, carry: Any) -> Evaluated:
            # The same draws at every evaluation.
            keys = jax.vmap(lambda place: jax.random.fold_in(state.key, place))(batch["place"])
            vectors = Vectors(**state.params)
            losses, _, numbers = lax.map(
                lambda one: of_stretch(vectors, *one), (batch["tokens"], keys)
            )
            weight = batch["weight"]
            return Evaluated(
                {"loss": jnp.sum(weight * losses), "weight": jnp.sum(weight * numbers)}
            )

        def predict(state: TrainState, batch: Batch) -> Any:
            return state.params["inputs"][jnp.maximum(batch["tokens"], 0)]

        def summarize(sums: Sums) -> dict[str, float]:
            return {"loss": mean(sums["loss"], sums["weight"])}

        return Program(
            init=init,
            train_step=train_step,
            predict=predict,
            evaluate=evaluate,
            summarize=summarize,
            metrics=("loss",),
            best_metric="loss",
            higher_is_better=False,
        )

    return make
