"""What an experiment consists of: data, a task, an optimizer and how long to train."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal, Protocol, runtime_checkable

import jax.numpy as jnp
from jaxtyping import Array, Key

from cnn_jax.data import Dataset
from cnn_jax.training.control import ControlConfig
from cnn_jax.training.optimizers import OptimizerConfig
from cnn_jax.training.trainable import Trainable

Precision = Literal["float32", "bfloat16"]
Variables = dict[str, Any]
"""A model's variables as Flax names them: \"params\", and collections such as \"batch_stats\"."""
Initialize = Callable[[Variables, Mapping[str, "Result"]], Variables]


@runtime_checkable
class Task(Protocol):
    """What a model is trained for; see ``cnn_jax.tasks``."""

    metrics: ClassVar[tuple[str, ...]]
    """Names that ``summarize`` gives, ``loss`` first."""
    best_metric: ClassVar[str]
    """The metric that decides which checkpoint is the best."""
    higher_is_better: ClassVar[bool]
    """Whether the best checkpoint has most of that metric, or least."""

    def with_axis(self, axis_name: str | None) -> "Task":
        """The same task, its BatchNorm synchronized over a mapped axis."""
        ...

    def init(self, key: Key[Array, ""], image_shape: tuple[int, ...]) -> tuple[Any, Any]:
        """Fresh ``(params, model_state)``."""
        ...

    def loss_fn(
        self, params: Any, model_state: Any, batch: Any, key: Any, train: bool
    ) -> tuple[Array, tuple[Any, dict[str, Array]]]:
        """The loss of a batch; the contract is in ``cnn_jax.training.step``."""
        ...

    def predict(self, params: Any, model_state: Any, batch: Any) -> Array:
        """The model's output for a batch, over all devices."""
        ...

    def summarize(self, sums: dict[str, Any]) -> dict[str, float]:
        """The metrics of what ``sums`` was added up over."""
        ...


@dataclass(frozen=True)
class TrainingConfig:
    """How long to train, in what portions, and how often to look."""

    duration: str = "10 epochs"
    """Length of the run in steps, epochs or examples, such as 10epochs or '64000 steps'."""
    batch_size: int = 128
    """Examples a step, over all devices and processes."""
    accumulate: int = 1
    """Micro-batches that a batch is cut into when it does not fit into memory at once."""
    precision: Precision = "float32"
    """Precision of the model's computation; parameters, statistics and loss stay float32."""
    ema_decay: float = 0.0
    """Decay of a moving average of the parameters, used in evaluation; 0: none."""
    log_every: str = "50 steps"
    """Distance of the training rows in metrics.csv."""
    evaluate_every: str = "1 epoch"
    """Distance of the evaluations on the validation split."""
    save_every: str = "1 epoch"
    """Distance of the checkpoints."""
    eval_batch_size: int = 500
    """Examples an evaluation step, over all devices."""
    layer_gradients: bool = False
    """Also log the norm of each layer's gradient, as columns grad_norm/<layer>."""


def compute_dtype(precision: Precision) -> Any:
    """The ``dtype`` attribute of a model: None is float32 (or what the parameters are)."""
    return jnp.bfloat16 if precision == "bfloat16" else None


@dataclass(frozen=True)
class Experiment:
    """One training run, ready to start."""

    dataset: Dataset
    task: Task
    optimizer: OptimizerConfig
    training: TrainingConfig
    control: ControlConfig = field(default_factory=ControlConfig)
    workers: int = 0
    """Processes that decode streamed data."""
    initialize: Initialize | None = None
    """Changes the fresh variables, given the results of the study's earlier members: pretraining
    is to take an earlier one's."""
    trainable: Trainable | None = None
    """Which parameters train, by their path such as "head/kernel"; the others are held to the bit.
    None: all. BatchNorm's statistics are no parameters: hold them by the model's norm="frozen"."""
    figures: Mapping[str, Callable[["Result"], Any]] = field(default_factory=dict)
    """Figures by file name, drawn from the result at the end."""


@dataclass(frozen=True)
class Result:
    """What a finished run leaves in memory."""

    experiment: Experiment
    summary: dict[str, Any]
    """Final metrics a split, steps, and what else ``summary.json`` holds."""
    rows: list[dict[str, Any]]
    """The rows of ``metrics.csv``."""
    variables: Variables
    """The trained model's, on the host; the parameters are those that were evaluated."""
    outputs: Callable[[str], Any]
    """``outputs(split)``: the model's outputs for every example, in order, as one array."""

    @property
    def held_out(self) -> str:
        """The split that a final figure is about: test, else validation, else train."""
        splits = self.experiment.dataset.splits
        return next(name for name in ("test", "validation", "train") if name in splits)
