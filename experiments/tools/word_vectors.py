"""The training of word2vec as a program, which updates the rows that a step has touched."""

from typing import Any

import jax
import jax.numpy as jnp

from cnn_jax.data.words import word_counts
from cnn_jax.errors import ConfigError
from cnn_jax.tasks.word2vec import Vectors, Word2Vec, step_along
from cnn_jax.training import (
    Batch,
    Evaluated,
    Experiment,
    OptimizerConfig,
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


def word2vec_program(experiment: Experiment, plan: Plan) -> Program:
    """The program that trains the vectors of a `Word2Vec` by plain stochastic gradient descent.

    An example is a stretch of text. All stretches of a batch are one update, so that it should have
    few. The loss is divided by the number of pairs, or with "cbow" of words; rates count words.

    Raises:
        ConfigError: the text is too short, or an option of the training does not apply.
    """
    task, dataset, config = experiment.task, experiment.dataset, experiment.optimizer
    assert isinstance(task, Word2Vec) and isinstance(config, OptimizerConfig)
    task.check(dataset)
    _check(experiment)
    tables = task.tables(word_counts(dataset))
    schedule = make_schedule(config, plan.total, plan.steps)

    def drawn(key: Any, batch: Batch, places: Any) -> Any:
        """Blocks and targets of all stretches; those of padding have no pairs."""
        keys = jax.vmap(lambda place: jax.random.fold_in(key, place))(places)
        blocks, targets = jax.vmap(lambda key, tokens: task.draw(key, tokens, tables))(
            keys, batch["tokens"]
        )
        near = blocks.near & (batch["weight"] > 0)[:, None, None, None]
        blocks = blocks._replace(near=near)
        return jax.tree.map(lambda a: a.reshape(-1, *a.shape[2:]), (blocks, targets))

    def init(key: Any, change: Any) -> TrainState:
        vectors = task.init(jax.random.fold_in(key, 0), dataset.num_classes)
        params = change({"params": vectors._asdict()})["params"]
        return init_state(params, {}, None, jax.random.fold_in(key, 1))

    def train_step(state: TrainState, batch: Batch) -> tuple[TrainState, Sums]:
        key = jax.random.fold_in(state.key, state.step)
        blocks, targets = drawn(key, batch, batch["slot"])
        vectors, rate = Vectors(**state.params), schedule(state.step) * state.control.scale
        loss, touched = task.loss_and_gradients(vectors, blocks, targets)
        touched = gather_over_devices(touched)
        words = jnp.sum((batch["tokens"] >= 0) * batch["weight"][:, None])
        loss, number, words = sum_over_devices((loss, task.terms(blocks), words))
        sums = step_sums(
            loss,
            [gradients for _, gradients in touched.values()],
            batch,
            weight=number,
            per_step={"learning_rate": jnp.asarray(rate, jnp.float32)},
        )
        params = step_along(vectors, touched, rate)._asdict()
        return state.replace(step=state.step + 1, params=params), sums | {"examples": words}

    def evaluate(state: TrainState, batch: Batch, carry: Any) -> Evaluated:
        # The same draws at every evaluation.
        blocks, targets = drawn(state.key, batch, batch["place"])
        loss, _ = task.loss_and_gradients(Vectors(**state.params), blocks, targets)
        return Evaluated({"loss": loss, "weight": task.terms(blocks)})

    def predict(state: TrainState, batch: Batch) -> Any:
        return state.params["inputs"][jnp.maximum(batch["tokens"], 0)]

    return Program(
        init=init,
        train_step=train_step,
        predict=predict,
        evaluate=evaluate,
        summarize=task.summarize,
        metrics=task.metrics,
        best_metric=task.best_metric,
        higher_is_better=task.higher_is_better,
        counted="words",
    )


def _check(experiment: Experiment) -> None:
    """Raise ConfigError for options that a training of touched rows does not have."""
    config = experiment.training
    given = {
        f"--training.accumulate {config.accumulate}": config.accumulate > 1,
        f"--training.precision {config.precision}": config.precision != "float32",
        f"--training.ema-decay {config.ema_decay}": config.ema_decay > 0,
        "--training.layer-gradients": config.layer_gradients,
    }
    for option, is_given in given.items():
        if is_given:
            raise ConfigError(
                f"{option} does not apply to word2vec, whose updates are of the touched rows alone "
                "and in float32; leave it out"
            )
