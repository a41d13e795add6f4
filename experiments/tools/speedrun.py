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
from cnn_jax.errors import ConfigError
from cnn_jax.layers import whitening_kernel
from cnn_jax.models import create_model
from cnn_jax.tasks import Classification
from cnn_jax.tasks.metrics import accuracy
from cnn_jax.training import (
    EvalFeed,
    Parallel,
    Precision,
    TrainFeed,
    TrainingDiverged,
    TrainState,
    airbench_muon,
    compute_dtype,
    init_state,
    make_prepare,
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
    for name in ("epochs", "filter_rate", "bias_rate", "head_rate"):
        if not (value := getattr(config, name)) > 0:
            flag = name.replace("_", "-")
            raise ConfigError(f"--training.{flag} must be more than 0, got {value}")
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
class Programs:
    """What all runs share: compiled programs, and the data on the devices."""

    fresh: Callable[[int], TrainState]
    """The state before run i."""
    advance: Callable[[TrainState, int], tuple[TrainState, dict[str, Any]]]
    """Some steps on from a state: the new one, and the metrics' sums."""
    evaluate: Callable[[TrainState], dict[str, float]]
    """Accuracies on the held-out split, by view."""
    steps: int
    """Steps of a run."""


def assemble(
    config: SpeedrunConfig, dataset: Dataset, parallel: Parallel, *, seed: int
) -> Programs:
    """Model, step and feeds of all runs; nothing is compiled before it is called.

    Raises:
        ConfigError: a batch that is larger than the training split, or does not divide over the
            devices.
    """
    model = create_model(
        "cifar_airbench94",
        num_classes=dataset.num_classes,
        dtype=compute_dtype(config.precision),
    )
    task = Classification(model, label_smoothing=config.label_smoothing)
    train = dataset.splits["train"]
    assert isinstance(train, ArraySplit)
    parallel.check_batch(config.batch_size)
    steps_per_epoch = max(1, len(train) // config.batch_size)
    steps = math.ceil(config.epochs * steps_per_epoch)
    optimizer = make_speedrun_optimizer(config, steps_per_epoch)
    mirrors = RandomFlip() in dataset.augment
    moved = tuple(one for one in dataset.augment if one != RandomFlip())
    prepare = make_prepare(replace(dataset, augment=moved))
    inner_step = make_train_step(task.loss_fn, optimizer, prepare=prepare)

    def train_step(state: TrainState, batch: Any) -> Any:
        if mirrors:
            # No key of a step, which are folded in.
            key, _ = jax.random.split(state.key)
            epoch = state.step // steps_per_epoch
            images = alternating_flip(batch["image"], batch["example"], epoch, key)
            batch = batch | {"image": images}
        return inner_step(state, batch)

    def fresh(key: Array, first_step: Array, images: Array) -> TrainState:
        params, model_state = task.init(jax.random.fold_in(key, 0), dataset.image_shape)
        scaled = normalize(images.astype(jnp.float32) / 255, dataset.mean, dataset.std)
        constants = {"body": {"whiten": {"kernel": whitening_kernel(scaled)}}}
        model_state = model_state | {"constants": constants}
        state = init_state(params, model_state, optimizer, jax.random.fold_in(key, 1))
        return state.replace(step=first_step)

    def correct(state: TrainState, batch: Any) -> dict[str, Array]:
        def outputs(images: Images) -> Logits:
            return task.predict(state.params, state.model_state, {"image": images})

        images = prepare(batch, state.key, False)["image"]
        found = viewed(outputs, images, config.views)
        sums = {
            name: jnp.sum(batch["weight"] * accuracy(logits, batch["label"]))
            for name, logits in found.items()
        }
        return sums | {"weight": jnp.sum(batch["weight"])}

    feed = TrainFeed(train, train_step, parallel, batch_size=config.batch_size, seed=seed)
    total = EvalFeed(
        dataset.splits[held_out(dataset)], parallel, batch_size=config.batch_size
    ).total(correct)
    compiled = parallel.compile(fresh)
    images = parallel.replicate(train.images[:WHITENED])
    key = jax.random.key(seed)
    # The metrics' sums of no steps, for which the step is traced once.
    zeros = feed.zero_sums(jax.eval_shape(fresh, key, np.int32(0), images))

    def state_of(run: int) -> TrainState:
        # One long order of examples serves all runs, each of which begins a new epoch of it.
        first_step = np.int32(run * math.ceil(config.epochs) * steps_per_epoch)
        return compiled(jax.random.fold_in(key, run), first_step, images)

    def advance(state: TrainState, n: int) -> tuple[TrainState, dict[str, Any]]:
        return feed.advance(state, parallel.replicate(zeros), n)

    def evaluate(state: TrainState) -> dict[str, float]:
        sums = total(state)
        # A compiled program gives a dict in the order of its names.
        return {view: float(sums[view] / sums["weight"]) for view in VIEWS if view in sums}

    return Programs(state_of, advance, evaluate, steps)


def warm_up(programs: Programs) -> float:
    """Compile everything; gives the estimated seconds of a run's training."""
    state, _ = programs.advance(programs.fresh(0), 1)
    programs.evaluate(state)
    start = time.perf_counter()
    jax.block_until_ready(programs.advance(state, 1))
    return programs.steps * (time.perf_counter() - start)


def run_once(programs: Programs, number: int) -> Run:
    """Run `number`, from nothing to its accuracies.

    Raises:
        TrainingDiverged: the loss is no longer finite.
    """
    start = time.perf_counter()
    state, sums = programs.advance(programs.fresh(number), programs.steps)
    accuracies = programs.evaluate(state)
    seconds = time.perf_counter() - start
    if sums["finite_steps"] < sums["steps"]:
        raise TrainingDiverged(
            f"run {number + 1}: the loss became non-finite; take a lower --training.filter-rate, "
            "--training.bias-rate or --training.head-rate"
        )
    return Run(seconds, float(sums["loss"]) / float(sums["weight"]), accuracies)
