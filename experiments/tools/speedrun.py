"""Many runs of one recipe with the programs of the first: airbench94's training, step by step."""

import math
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, Literal, get_args

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax.traverse_util import path_aware_map
from jaxtyping import Array, Float

from cnn_jax.data import ArraySplit, Dataset, RandomFlip, alternating_flip, normalize
from cnn_jax.errors import check_range
from cnn_jax.layers import whitening_kernel
from cnn_jax.models import create_model
from cnn_jax.tasks import Classification
from cnn_jax.tasks.metrics import accuracy
from cnn_jax.training import (
    Batch,
    Evaluated,
    Metrics,
    Parallel,
    Precision,
    Program,
    Runner,
    Sums,
    TrainingDiverged,
    TrainState,
    Variables,
    airbench_muon,
    compute_dtype,
    init_state,
    make_preprocess,
    make_train_step,
)

Images = Float[Array, "batch height width channels"]
Logits = Float[Array, "batch classes"]
Views = Literal["plain", "mirror", "mirror_translate"]
VIEWS: tuple[Views, ...] = get_args(Views)

WHITENED = 5000
"""Training images whose patches decide the first convolution."""


@dataclass(frozen=True)
class SpeedrunConfig:
    """How a run trains and is evaluated."""

    epochs: float = 8.0
    """Length of a run."""
    whitening_epochs: float = 3.0
    """Epochs from the start in which the whitening convolution's bias is trained."""
    batch_size: int = 2000
    """Examples a step, over all devices."""
    filter_rate: float = 0.24
    """Muon's rate of the filters, at first; all rates fall linearly to zero."""
    filter_momentum: float = 0.6
    """Muon's momentum."""
    bias_rate: float = 0.053
    """Rate of the biases, for the sum (not the mean) of a batch's losses."""
    head_rate: float = 0.67
    """Rate of the classifier, for the sum of a batch's losses."""
    momentum: float = 0.85
    """Nesterov's momentum of biases and classifier."""
    weight_decay: float = 2e-6
    """Share of biases and classifier that a step takes off at first, for each of its examples."""
    label_smoothing: float = 0.2
    """Probability moved from the label to all classes."""
    translate: int = 2
    """Largest move of a training image along both axes, in pixels; its border is reflected."""
    views: Views = "mirror_translate"
    """Views of a test image whose outputs are averaged: 1, 2 or 6."""
    precision: Precision = "bfloat16"
    """Precision of the network and of Muon's products; parameters, statistics, loss: float32."""

    def __post_init__(self) -> None:
        check_range(self, 0, above=True, epochs=self.epochs, filter_rate=self.filter_rate)
        check_range(self, 0, above=True, bias_rate=self.bias_rate, head_rate=self.head_rate)
        check_range(
            self,
            0,
            whitening_epochs=self.whitening_epochs,
            weight_decay=self.weight_decay,
            translate=self.translate,
        )
        check_range(
            self,
            0,
            1,
            filter_momentum=self.filter_momentum,
            momentum=self.momentum,
            label_smoothing=self.label_smoothing,
        )
        check_range(self, 1, batch_size=self.batch_size)


@dataclass(frozen=True)
class Run:
    """What a run gives."""

    seconds: float
    loss: float
    """Mean over all training steps."""
    accuracies: dict[str, float]
    """On the held-out split, by view."""


def make_speedrun_optimizer(
    config: SpeedrunConfig, steps_per_epoch: int
) -> optax.GradientTransformation:
    """Muon for the filters; SGD with rates of their own for biases, whitening bias and head."""
    total = math.ceil(config.epochs * steps_per_epoch)
    whitening = math.ceil(config.whitening_epochs * steps_per_epoch)

    def sgd(rate: float, steps: int) -> optax.GradientTransformation:
        if steps == 0:
            return optax.set_to_zero()
        return optax.chain(
            # The step's gradient is of the mean loss, the record's rates are for the sum.
            optax.scale(config.batch_size),
            optax.add_decayed_weights(config.weight_decay * config.batch_size / rate),
            optax.trace(config.momentum, nesterov=True),
            optax.scale_by_learning_rate(optax.linear_schedule(rate, 0.0, steps)),
        )

    rules = {
        "filters": airbench_muon(
            optax.linear_schedule(config.filter_rate, 0.0, total),
            momentum=config.filter_momentum,
            dtype=compute_dtype(config.precision),
        ),
        "biases": sgd(config.bias_rate, total),
        "whitening": sgd(config.bias_rate, whitening),
        "head": sgd(config.head_rate, total),
    }

    def rule_of(path: tuple[Any, ...], parameter: Array) -> str:
        if path[0] == "head":
            return "head"
        if path[-1] == "kernel":
            return "filters"
        return "whitening" if path[-2] == "whiten" else "biases"

    return optax.partition(rules, lambda params: path_aware_map(rule_of, params))


def viewed(outputs: Callable[[Images], Logits], images: Images, views: Views) -> dict[str, Logits]:
    """Outputs for the plain images, and means over ever more views, up to those named.

    Mirror images count as much as the images; images moved by one pixel to the upper left and to
    the lower right (and their mirror images) together as much as those that are not moved.
    """

    def both(images: Images) -> Logits:
        return (outputs(images) + outputs(images[:, :, ::-1])) / 2

    found = {"plain": outputs(images)}
    if views == "plain":
        return found
    found["mirror"] = (found["plain"] + outputs(images[:, :, ::-1])) / 2
    if views == "mirror":
        return found
    _, height, width, _ = images.shape
    padded = jnp.pad(images, ((0, 0), (1, 1), (1, 1), (0, 0)), mode="reflect")
    moved = [both(padded[:, start : start + height, start : start + width]) for start in (0, 2)]
    found["mirror_translate"] = (found["mirror"] + (moved[0] + moved[1]) / 2) / 2
    return found


def held_out(dataset: Dataset) -> str:
    """The split that accuracies are about."""
    return "test" if "test" in dataset.splits else "validation"


@dataclass(frozen=True)
class Speedrun:
    """What all runs share: compiled functions, and the data on the devices."""

    fresh: Callable[[int], TrainState]
    """The state before run i."""
    advance: Callable[[TrainState, int], tuple[TrainState, Sums]]
    """Makes steps; gives the new state and the sums."""
    evaluate: Callable[[TrainState], Metrics]
    """Accuracies on the held-out split, by view."""
    steps: int
    """Steps of a run."""


def speedrun_program(config: SpeedrunConfig, dataset: Dataset) -> Program:
    """airbench94's training as a program.

    Its ``init`` takes the whitening kernel from ``change``: the first convolution is a constant of
    the model's state.
    """
    model = create_model(
        "cifar_airbench94",
        num_classes=dataset.num_classes,
        dtype=compute_dtype(config.precision),
    )
    task = Classification(model, label_smoothing=config.label_smoothing)
    steps_per_epoch = dataset.splits["train"].steps_per_epoch(config.batch_size)
    optimizer = make_speedrun_optimizer(config, steps_per_epoch)
    mirrors = RandomFlip() in dataset.augment
    moved = tuple(one for one in dataset.augment if one != RandomFlip())
    preprocess = make_preprocess(replace(dataset, augment=moved))
    inner_step = make_train_step(task.loss_fn, optimizer, preprocess=preprocess)

    def init(key: Array, change: Callable[[Variables], Variables]) -> TrainState:
        params, model_state = task.init(jax.random.fold_in(key, 0), dataset.spec)
        model_state = dict(change({"params": params, **model_state}))
        params = model_state.pop("params")
        return init_state(params, model_state, optimizer.init(params), jax.random.fold_in(key, 1))

    def train_step(state: TrainState, batch: Batch) -> tuple[TrainState, Sums]:
        if mirrors:
            # Not the key of any step: those are folded in.
            key, _ = jax.random.split(state.key)
            epoch = state.step // steps_per_epoch
            images = alternating_flip(batch["image"], batch["place"], epoch, key)
            batch = batch | {"image": images}
        return inner_step(state, batch)

    def predict(state: TrainState, batch: Batch) -> dict[str, Logits]:
        def outputs(images: Images) -> Logits:
            return task.predict(state.params, state.model_state, {"image": images})

        return viewed(outputs, preprocess(batch, state.key, False)["image"], config.views)

    def evaluate(state: TrainState, batch: Batch, carry: Any) -> Evaluated:
        sums = {
            view: jnp.sum(batch["weight"] * accuracy(logits, batch["label"]))
            for view, logits in predict(state, batch).items()
        }
        return Evaluated(sums | {"weight": jnp.sum(batch["weight"])})

    def summarize(sums: Sums) -> Metrics:
        # A compiled function gives a dict in the order of its names.
        return {view: float(sums[view] / sums["weight"]) for view in VIEWS if view in sums}

    return Program(
        init=init,
        train_step=train_step,
        predict=predict,
        evaluate=evaluate,
        summarize=summarize,
        metrics=VIEWS[: VIEWS.index(config.views) + 1],
        best_metric=config.views,
        higher_is_better=True,
    )


def make_speedrun(
    config: SpeedrunConfig, dataset: Dataset, parallel: Parallel, *, seed: int
) -> Speedrun:
    """The program of all runs on the devices; nothing is compiled before it is called.

    Raises:
        ConfigError: a batch that is larger than the training split, or does not divide over the
            devices.
    """
    train = dataset.splits["train"]
    assert isinstance(train, ArraySplit)
    parallel.check_batch(config.batch_size)
    program = speedrun_program(config, dataset)
    runner = Runner(
        program,
        dataset,
        parallel,
        batch_size=config.batch_size,
        eval_batch_size=config.batch_size,
        seed=seed,
    )
    steps_per_epoch = train.steps_per_epoch(config.batch_size)
    epochs = math.ceil(config.epochs)

    def fresh(key: Array, first_step: Array, images: Array) -> TrainState:
        def whitened(variables: Variables) -> Variables:
            scaled = normalize(images.astype(jnp.float32) / 255, dataset.mean, dataset.std)
            constants = {"body": {"whiten": {"kernel": whitening_kernel(scaled)}}}
            return variables | {"constants": constants}

        return program.init(key, whitened).replace(step=first_step)

    compiled = parallel.compile(fresh)
    images = parallel.place(train.arrays["image"][:WHITENED])
    key = jax.random.key(seed)
    # The step is traced once for the shapes of its sums.
    zeros = jax.tree.map(
        np.asarray, runner.zero_sums(jax.eval_shape(fresh, key, np.int32(0), images))
    )

    def state_of(run: int) -> TrainState:
        # One long order of examples serves all runs, each of which begins a new epoch of it.
        first_step = np.int32(run * epochs * steps_per_epoch)
        return compiled(jax.random.fold_in(key, run), first_step, images)

    return Speedrun(
        fresh=state_of,
        advance=lambda state, n: runner.advance(state, parallel.place(zeros), n),
        evaluate=lambda state: runner.evaluate(state, held_out(dataset)),
        steps=math.ceil(config.epochs * steps_per_epoch),
    )


def warm_up(speedrun: Speedrun) -> float:
    """Compile everything; gives the estimated seconds of a run's training."""
    state, _ = speedrun.advance(speedrun.fresh(0), 1)
    speedrun.evaluate(state)
    start = time.perf_counter()
    jax.block_until_ready(speedrun.advance(state, 1))
    return speedrun.steps * (time.perf_counter() - start)


def run_once(speedrun: Speedrun, number: int) -> Run:
    """Run `number`, from nothing to its accuracies.

    Raises:
        TrainingDiverged: the loss is no longer finite.
    """
    start = time.perf_counter()
    state, sums = speedrun.advance(speedrun.fresh(number), speedrun.steps)
    accuracies = speedrun.evaluate(state)
    seconds = time.perf_counter() - start
    if sums["finite_steps"] < sums["steps"]:
        raise TrainingDiverged(
            f"run {number + 1}: the loss became non-finite; take a lower --training.filter-rate, "
            "--training.bias-rate or --training.head-rate"
        )
    return Run(seconds, float(sums["loss"]) / float(sums["weight"]), accuracies)
