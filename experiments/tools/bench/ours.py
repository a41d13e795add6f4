"""Our sides: training steps as the loop runs them, the step alone, a forward pass."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np
from flax.traverse_util import flatten_dict, unflatten_dict

from cnn_jax.data import ArraySplit, Dataset, epoch_order, random_crop, random_flip
from cnn_jax.models import GAN, DCGANDiscriminator, DCGANGenerator, create_model
from cnn_jax.pretrained import to_torch
from cnn_jax.tasks import (
    Adversarial,
    Classification,
    Reconstruction,
    RegionDetection,
    Segmentation,
    paste_masks,
)
from cnn_jax.training import (
    Batch,
    Experiment,
    OptimizerConfig,
    Runner,
    TrainingConfig,
    TrainState,
    Variables,
    adversarial,
    compute_dtype,
    keep_freed_memory,
    make_parallel,
    prepare_run,
)
from experiments.tools.bench.cases import (
    ADVERSARIAL_MOMENTUM,
    Case,
    noise,
    order_file,
    weights_file,
)
from experiments.tools.bench.side import RunSteps
from experiments.tools.compilation_cache import keep_compiled_programs

TASKS: dict[str, Callable[..., Any]] = {
    "classification": Classification,
    "segmentation": Segmentation,
    # Many detections without training, as of a trained network.
    "instances": partial(RegionDetection, score_threshold=0.0),
}
BRANCH_END = "norm3/scale"
"""The end of a path: the last scale of a bottleneck."""


def make_experiment(
    case: Mapping[str, Any],
    batch_size: int,
    *,
    precision: Literal["float32", "bfloat16"] = "float32",
    augmented: bool = False,
) -> Experiment:
    """The experiment of a case.

    Args:
        case: fields of a `Case`.
        batch_size: examples per step.
        precision: that of `TrainingConfig`.
        augmented: crop and flip the images, as for CIFAR.
    """
    work = Case(**case)
    channels = work.image_shape[-1]
    dataset = Dataset(
        name="noise",
        title="noise",
        splits={"train": ArraySplit(noise(work, batch_size))},
        class_names=tuple(map(str, range(work.num_classes))),
        mean=(work.mean,) * channels,
        std=(work.std,) * channels,
        augment=(random_crop(padding=4), random_flip()) if augmented else (),
    )
    attributes = dict(work.attributes) | {"dtype": compute_dtype(precision)}
    optimizer = OptimizerConfig(
        name=work.optimizer, learning_rate=work.learning_rate, l2=work.l2, decay_all=True
    )
    program = None
    if work.task == "adversarial":
        optimizer = replace(optimizer, momentum=ADVERSARIAL_MOMENTUM)
        program = adversarial(optimizer)
        task: Any = Adversarial(_gan(work.image_shape, **attributes))
    elif work.task != "reconstruction":
        attributes["num_classes"] = work.num_classes
        task = TASKS[work.task](create_model(work.model, **attributes))
    else:
        shape = dataset.image_shape
        task = Reconstruction(create_model(work.model, image_shape=shape, **attributes))
    return Experiment(
        dataset=dataset,
        task=task,
        optimizer=optimizer,
        program=program,
        training=TrainingConfig(batch_size=batch_size, precision=precision),
        trainable=_not_frozen if work.task == "instances" else None,
    )


def _gan(image_shape: tuple[int, int, int], *, latent: int, width: int, dtype: Any) -> GAN:
    return GAN(
        DCGANGenerator(image_shape, latent, width, dtype=dtype),
        DCGANDiscriminator(image_shape, width, dtype=dtype),
    )


def _not_frozen(path: str) -> bool:
    """Torchvision's frozen BatchNorm has no parameters."""
    return "norm" not in path


def _without_branches(variables: Variables) -> Variables:
    """Residual branches that begin with 0: with statistics that are not the batch's, maps would
    grow from block to block.
    """
    flat = flatten_dict(dict(variables), sep="/")
    ends = {path: jnp.zeros_like(leaf) for path, leaf in flat.items() if path.endswith(BRANCH_END)}
    return unflatten_dict(flat | ends, sep="/")


def start(*, directory: str = "", **arguments: Any) -> tuple[Experiment, Runner, TrainState]:
    """An experiment, its program on all devices, and the initial state.

    Args:
        directory: where to write the initial parameters for the opponents; "" writes none.
        arguments: those of `make_experiment`.
    """
    experiment = make_experiment(**arguments)
    _, runner = prepare_run(experiment, make_parallel("jit"), seed=0)
    frozen = isinstance(experiment.task, RegionDetection)
    state = runner.init(_without_branches) if frozen else runner.init()
    if directory:
        variables = {"params": state.params, **state.model_state}
        examples = len(experiment.dataset.splits["train"])
        _write_start(Path(directory), experiment.task.model, variables, examples)
    return experiment, runner, state


def first_batch(experiment: Experiment) -> Batch:
    """The first examples of the data set, on the device."""
    split: Any = experiment.dataset.splits["train"]
    places = jnp.arange(experiment.training.batch_size)
    arrays = {name: jnp.asarray(array) for name, array in split.arrays.items()}
    beside = {"slot": places, "place": places, "weight": jnp.ones(places.shape)}
    return split.take(arrays, places) | beside


def _write_start(directory: Path, model: Any, variables: dict[str, Any], examples: int) -> None:
    from safetensors.numpy import save_file

    np.save(order_file(directory), np.asarray(epoch_order(0, 0, examples)))
    ours = {path: np.asarray(value) for path, value in flatten_dict(variables, sep="/").items()}
    save_file(ours, weights_file(directory, "ours"))
    if hasattr(model, "torch_names"):
        theirs = to_torch(model, variables)
    else:
        theirs = {_torch_name(path): _torch_layout(value) for path, value in ours.items()}
    save_file(theirs, weights_file(directory, "torch"))


def _torch_name(path: str) -> str:
    """A name for opponents whose layers have our names, such as body.hidden1.weight."""
    _, *layers, leaf = path.split("/")
    names = {
        "kernel": "weight",
        "scale": "weight",
        "mean": "running_mean",
        "var": "running_var",
    }
    return ".".join([*layers, names.get(leaf, leaf)])


def _torch_layout(value: np.ndarray) -> np.ndarray:
    return np.ascontiguousarray(value.transpose(3, 2, 0, 1) if value.ndim == 4 else value.T)


def set_up(keep_memory: bool = True) -> None:
    """Do what an experiment does before its first computation.

    Args:
        keep_memory: keep the memory that a step frees for the next one; False to measure peaks.
    """
    if keep_memory:
        keep_freed_memory()
    keep_compiled_programs()


def training(*, keep_memory: bool = True, **arguments: Any) -> RunSteps:
    """Chunks of steps as the loop runs them, over data on the device.

    Args:
        keep_memory: see `set_up`.
        arguments: those of `start`.
    """
    set_up(keep_memory)
    experiment, runner, state = start(**arguments)
    zeros = jax.tree.map(np.asarray, runner.zero_sums(state))
    # The runner has a copy of the data.
    del experiment

    def run(n: int) -> list[float]:
        nonlocal state
        state, sums = runner.advance(state, runner.parallel.place(zeros), n)
        sums = jax.tree.map(np.asarray, sums)
        return [float(sums["loss"] / sums["weight"])]

    return run


def bare_step(**arguments: Any) -> RunSteps:
    """The jitted step on one batch that lies on the device, in a Python loop."""
    set_up()
    experiment, runner, state = start(**arguments)
    step = runner.parallel.compile(runner.program.train_step, donate=(0,))
    batch = runner.parallel.place(first_batch(experiment))

    def run(n: int) -> list[float]:
        nonlocal state
        for _ in range(n):
            state, sums = step(state, batch)
        # The sums of the last step depend on all steps before it, but not on the new state.
        jax.block_until_ready(state)
        return [float(sums["loss"] / sums["weight"])]

    return run


def inference(**arguments: Any) -> RunSteps:
    """The jitted evaluation step on one batch that lies on the device."""
    set_up()
    experiment, runner, state = start(**arguments)
    batch = runner.parallel.place(first_batch(experiment))
    if isinstance(experiment.task, RegionDetection):
        return _detection(runner, state, batch)
    evaluate = runner.program.evaluate
    step = runner.parallel.compile(lambda state, batch: evaluate(state, batch, None).sums)

    def run(n: int) -> list[float]:
        for _ in range(n):
            sums = step(state, batch)
            # Each batch waits for its loss.
            loss = float(sums["loss"])
        return [loss / float(sums["weight"])]

    return run


def _detection(runner: Runner, state: TrainState, batch: Batch) -> RunSteps:
    """Boxes, scores, and the masks in the image, as torchvision gives them; the mean score."""
    canvas = batch["image"].shape[1:3]

    def detect(state: TrainState, batch: Batch) -> Any:
        found = runner.program.predict(state, batch)
        paste = jax.vmap(lambda masks, boxes: paste_masks(masks, boxes, canvas))
        return found | {"masks": paste(found["masks"], found["boxes"])}

    step = runner.parallel.compile(detect)

    def run(n: int) -> list[float]:
        for _ in range(n):
            found = jax.block_until_ready(step(state, batch))
        return [float(found["scores"].mean())]

    return run
