"""Our programs: a training step as the loop runs it, the step alone, a forward pass."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax.traverse_util import flatten_dict

from cnn_jax.data import ArraySplit, Dataset, epoch_order, random_crop, random_flip
from cnn_jax.models import create_model
from cnn_jax.pretrained import to_torch
from cnn_jax.tasks import Classification, Reconstruction
from cnn_jax.training import (
    OptimizerConfig,
    TrainFeed,
    compute_dtype,
    init_state,
    keep_freed_memory,
    l2_penalty,
    make_eval_step,
    make_optimizer,
    make_parallel,
    make_preprocess,
    make_train_step,
)
from experiments.tools.bench.cases import Case, noise, order_file, weights_file
from experiments.tools.bench.program import Run
from experiments.tools.compilation_cache import keep_compiled_programs


class Parts:
    """What a run of a case is put together from, as `cnn_jax.training.train` does it.

    Args:
        case: fields of a `Case`.
        batch_size: examples a step.
        precision: of `TrainingConfig`.
        directory: where the first parameters are written for the opponents; "" is nowhere.
        augmented: crop and flip the images, as for CIFAR.
    """

    def __init__(
        self,
        case: Mapping[str, Any],
        batch_size: int,
        *,
        precision: Literal["float32", "bfloat16"] = "float32",
        directory: str = "",
        augmented: bool = False,
    ) -> None:
        self.work = work = Case(**case)
        self.batch_size = batch_size
        images, labels = noise(work, batch_size)
        self.split = ArraySplit({"image": images, "label": labels})
        channels = work.image_shape[-1]
        self.dataset = Dataset(
            name="noise",
            title="noise",
            splits={"train": self.split},
            class_names=tuple(map(str, range(work.num_classes))),
            mean=(work.mean,) * channels,
            std=(work.std,) * channels,
            augment=(random_crop(padding=4), random_flip()) if augmented else (),
        )
        attributes = dict(work.attributes) | {"dtype": compute_dtype(precision)}
        if work.task == "classification":
            attributes["num_classes"] = work.num_classes
            model = create_model(work.model, **attributes)
            self.task: Classification | Reconstruction = Classification(model)
        else:
            model = create_model(work.model, image_shape=self.dataset.image_shape, **attributes)
            self.task = Reconstruction(model)
        config = OptimizerConfig(
            name=work.optimizer, learning_rate=work.learning_rate, l2=work.l2, decay_all=True
        )
        optimizer = make_optimizer(config, optax.constant_schedule(config.learning_rate))
        params, model_state = self.task.init(jax.random.key(0), self.dataset.image_shape)
        self.parallel = make_parallel("jit")
        self.prepare = make_preprocess(self.dataset)
        self.step = make_train_step(
            self.task.loss_fn, optimizer, prepare=self.prepare, penalty=l2_penalty(config)
        )
        self.state = self.parallel.replicate(
            init_state(params, model_state, optimizer, jax.random.key(1))
        )
        if directory:
            variables = {"params": params, **model_state}
            _write_start(Path(directory), model, variables, len(self.split))

    def batch(self) -> dict[str, Any]:
        """The first examples of the data set, on the device."""
        size = self.batch_size
        return {
            **{name: jnp.asarray(array[:size]) for name, array in self.split.arrays.items()},
            "slot": jnp.arange(size),
            "weight": jnp.ones(size),
        }

    def feed(self) -> TrainFeed:
        """Batches from the device's memory, gathered inside the step."""
        return TrainFeed(self.split, self.step, self.parallel, batch_size=self.batch_size, seed=0)


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
    """The name where the opponent's layers are called as ours, such as body.hidden1.weight."""
    _, *layers, leaf = path.split("/")
    names = {"kernel": "weight", "mean": "running_mean", "var": "running_var"}
    return ".".join([*layers, names.get(leaf, leaf)])


def _torch_layout(value: np.ndarray) -> np.ndarray:
    return np.ascontiguousarray(value.transpose(3, 2, 0, 1) if value.ndim == 4 else value.T)


def set_up(keep_memory: bool = True) -> None:
    """What an experiment does before its first computation.

    Args:
        keep_memory: also keep what a step frees for the next one; not where its peak is measured.
    """
    if keep_memory:
        keep_freed_memory()
    keep_compiled_programs()


def training(*, keep_memory: bool = True, **arguments: Any) -> Run:
    """Chunks of steps as the loop runs them, over data on the device; see `Parts`."""
    set_up(keep_memory)
    parts = Parts(**arguments)
    feed, state = parts.feed(), parts.state
    zeros = feed.zero_sums(state)
    # The feed has its own copy of the data, the state is consumed.
    del parts.split, parts.state
    replicate = parts.parallel.replicate

    def run(n: int) -> list[float]:
        nonlocal state
        state, sums = feed.advance(state, replicate(zeros), n)
        sums = jax.tree.map(np.asarray, sums)
        return [float(sums["loss"] / sums["weight"])]

    return run


def bare_step(**arguments: Any) -> Run:
    """The jitted step over one batch that lies on the device, in a Python loop."""
    set_up()
    parts = Parts(**arguments)
    step = parts.parallel.compile(parts.step, donate=(0,))
    state, batch = parts.state, parts.parallel.replicate(parts.batch())

    def run(n: int) -> list[float]:
        nonlocal state
        for _ in range(n):
            state, sums = step(state, batch)
        # The metrics of the last step wait for all before it; the state's arrays must be there too.
        jax.block_until_ready(state)
        return [float(sums["loss"] / sums["weight"])]

    return run


def inference(**arguments: Any) -> Run:
    """The evaluation step, jitted, over one batch that lies on the device."""
    set_up()
    parts = Parts(**arguments)
    step = parts.parallel.compile(make_eval_step(parts.task.loss_fn, prepare=parts.prepare))
    state, batch = parts.state, parts.parallel.replicate(parts.batch())

    def run(n: int) -> list[float]:
        for _ in range(n):
            sums = step(state, batch)
            # One batch after another, as answers are waited for.
            loss = float(sums["loss"])
        return [loss / parts.batch_size]

    return run
