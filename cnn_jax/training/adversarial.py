"""The program of a generator and a discriminator that are trained against each other.

A step is some updates of the discriminator, each on its part of the batch and on as many generated
images, and one update of the generator.
"""

from collections.abc import Callable
from typing import Any, Protocol, runtime_checkable

import jax
import jax.numpy as jnp
import optax
from jax import lax
from jaxtyping import Array, Key, PyTree

from cnn_jax.data import Dataset, Spec
from cnn_jax.errors import ConfigError
from cnn_jax.training.experiment import Experiment
from cnn_jax.training.mapped import sum_over_devices
from cnn_jax.training.optimizers import OptimizerConfig, make_updates
from cnn_jax.training.plan import Plan
from cnn_jax.training.preprocess import make_preprocess
from cnn_jax.training.program import Batch, Evaluated, Program, Sums, Variables, step_sums
from cnn_jax.training.state import TrainState, evaluated_params, init_state
from cnn_jax.training.step import cut_batch, moving_average

GENERATOR, DISCRIMINATOR = "generator", "discriminator"
RATES = {GENERATOR: "learning_rate", DISCRIMINATOR: "learning_rate/discriminator"}


@runtime_checkable
class AdversarialTask(Protocol):
    """What two networks are trained for; see `cnn_jax.tasks.Adversarial`.

    The parameters are those of both, under "generator" and "discriminator". The two losses have the
    contract of `training.step`: weighted sums, the new state, and further sums.
    """

    metrics: Any
    best_metric: Any
    higher_is_better: Any

    def check(self, dataset: Dataset) -> None: ...

    def init(self, key: Key[Array, ""], spec: Spec) -> tuple[Any, Any]: ...

    def discriminator_loss(
        self, params: Any, model_state: Any, batch: Any, key: Any, train: bool
    ) -> tuple[Array, tuple[Any, dict[str, Array]]]: ...

    def generator_loss(
        self, params: Any, model_state: Any, batch: Any, key: Any, train: bool
    ) -> tuple[Array, tuple[Any, dict[str, Array]]]: ...

    def predict(self, params: Any, model_state: Any, batch: Any, key: Any) -> PyTree: ...

    def rows(self, params: Any, model_state: Any, batch: Any, key: Any) -> PyTree: ...

    def measure(self, rows: PyTree) -> dict[str, float]: ...

    def summarize(self, sums: dict[str, Any]) -> dict[str, float]: ...

    def remark(self, metrics: dict[str, float]) -> str: ...


def adversarial(
    discriminator: OptimizerConfig | optax.GradientTransformation,
    discriminator_steps: int = 1,
) -> Callable[[Experiment, Plan], Program]:
    """Makes the program of an experiment whose task is an `AdversarialTask`.

    The experiment's optimizer is the generator's, and its ``ema_decay`` is that of an average of
    the generator alone, which is evaluated. The last update of the discriminator and that of the
    generator see the same generated images, as in PyTorch's example dcgan.

    Args:
        discriminator: its optimizer.
        discriminator_steps: updates of the discriminator in each step; each takes such a part of
            the batch.

    Raises:
        ConfigError: fewer than one update; when the program is made, a task that does not fit the
            data set, micro-batches, layers' gradients or held parameters; in the first step, a
            batch that cannot be divided by the number of updates.
    """
    if discriminator_steps < 1:
        raise ConfigError(
            f"the discriminator must be updated at least once a step, got {discriminator_steps}"
        )

    def make(experiment: Experiment, plan: Plan) -> Program:
        _check(experiment)
        task: AdversarialTask = experiment.task
        decay = experiment.training.ema_decay
        preprocess = make_preprocess(experiment.dataset)
        of_discriminator = make_updates(discriminator, plan, discriminator_steps)
        updates = {
            GENERATOR: (task.generator_loss, *make_updates(experiment.optimizer, plan)),
            DISCRIMINATOR: (task.discriminator_loss, *of_discriminator),
        }

        def init(key: Key[Array, ""], change: Callable[[Variables], Variables]) -> TrainState:
            params, model_state = task.init(jax.random.fold_in(key, 0), experiment.dataset.spec)
            model_state = dict(change({"params": params, **model_state}))
            params = model_state.pop("params")
            opt_state = {
                name: jax.jit(optimizer.init)(params[name])
                for name, (_, optimizer, *_) in updates.items()
            }
            ema = {GENERATOR: params[GENERATOR]} if decay else None
            return init_state(params, model_state, opt_state, jax.random.fold_in(key, 1), ema=ema)

        def update(
            name: str, state: TrainState, batch: Batch, key: Key[Array, ""]
        ) -> tuple[TrainState, tuple[Array, Sums]]:
            """One update of one of the networks, the norm of its gradient, and sums."""
            loss_fn, optimizer, _, penalty = updates[name]

            def objective(own: PyTree) -> Any:
                params = {**state.params, name: own}
                return loss_fn(params, state.model_state, batch, key, True)

            own = state.params[name]
            (loss, (model_state, sums)), grads = jax.value_and_grad(objective, has_aux=True)(own)
            weight = jnp.sum(batch["weight"])
            grads, sums, weight = sum_over_devices((grads, sums | {name: loss}, weight))
            weight = jnp.maximum(weight, jnp.finfo(weight.dtype).tiny)
            grads = jax.tree.map(lambda g: g / weight.astype(g.dtype), grads)
            if penalty is not None:
                grads = jax.tree.map(jnp.add, grads, jax.grad(penalty)(own))
            steps, opt_state = optimizer.update(grads, state.opt_state[name], own)
            steps = jax.tree.map(lambda u: u * state.control.scale.astype(u.dtype), steps)
            state = state.replace(
                params={**state.params, name: optax.apply_updates(own, steps)},
                model_state=model_state,
                opt_state={**state.opt_state, name: opt_state},
            )
            return state, (optax.tree.norm(grads), sums)

        def train_step(state: TrainState, batch: Batch) -> tuple[TrainState, Sums]:
            key = jax.random.fold_in(state.key, state.step)
            augment_key, key = jax.random.split(key)
            batch = preprocess(batch, augment_key, True)
            _check_parts(batch, discriminator_steps)
            parts = cut_batch(batch, discriminator_steps)
            keys = jax.random.split(key, discriminator_steps)
            state, (norms, sums) = lax.scan(
                lambda state, part: update(DISCRIMINATOR, state, *part), state, (parts, keys)
            )
            last = jax.tree.map(lambda array: array[-1], parts)
            state, (norm, more) = update(GENERATOR, state, last, keys[-1])
            ema = state.ema
            if ema is not None:
                average = {GENERATOR: state.params[GENERATOR]}
                ema = moving_average(ema, average, decay, state.step)
            of_both = {GENERATOR: norm, DISCRIMINATOR: jnp.mean(norms)}
            per_step = {f"grad_norm/{name}": value for name, value in of_both.items()}
            for name, (_, _, schedule, _) in updates.items():
                if schedule is not None:
                    rate = jnp.asarray(schedule(state.step), jnp.float32) * state.control.scale
                    per_step[RATES[name]] = rate
            sums = jax.tree.map(lambda array: jnp.sum(array, axis=0), sums) | more
            del sums[DISCRIMINATOR]
            sums = step_sums(sums.pop(GENERATOR), of_both, batch, per_step=per_step, **sums)
            return state.replace(step=state.step + 1, ema=ema), sums

        def evaluate(state: TrainState, batch: Batch, carry: PyTree) -> Evaluated:
            batch = preprocess(batch, state.key, False)
            given = evaluated_params(state), state.model_state, batch, state.key
            loss, (_, sums) = task.generator_loss(*given, False)
            _, (_, more) = task.discriminator_loss(*given, False)
            return Evaluated(sums | more | {"loss": loss}, task.rows(*given))

        def predict(state: TrainState, batch: Batch) -> PyTree:
            batch = preprocess(batch, state.key, False)
            return task.predict(evaluated_params(state), state.model_state, batch, state.key)

        return Program(
            init=init,
            train_step=train_step,
            predict=predict,
            evaluate=evaluate,
            summarize=task.summarize,
            metrics=task.metrics,
            best_metric=task.best_metric,
            higher_is_better=task.higher_is_better,
            measure=task.measure,
            remark=task.remark,
        )

    return make


def _check(experiment: Experiment) -> None:
    experiment.task.check(experiment.dataset)
    config = experiment.training
    if config.accumulate > 1 or config.layer_gradients or experiment.trainable is not None:
        raise ConfigError(
            "an adversarial training cuts its batches into the discriminator's updates, trains all "
            "parameters, and logs one norm of each network's gradient: use --training.accumulate "
            "1, no --training.layer-gradients, and no trainable"
        )


def _check_parts(batch: Batch, count: int) -> None:
    size = len(batch["weight"])
    if size % count:
        raise ConfigError(
            f"{size} images (those of a step, or under pmap of a device) cannot be divided into "
            f"{count} updates of the discriminator: --training.batch-size must be a multiple of "
            f"{count} times the number of devices"
        )
