"""What an experiment consists of: data, a task, an optimizer and how long to train."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal, Protocol, runtime_checkable

import jax.numpy as jnp
import optax
from jaxtyping import Array, Key, PyTree

from cnn_jax.data import Dataset, Spec
from cnn_jax.errors import check_range
from cnn_jax.training.control import ControlConfig
from cnn_jax.training.duration import check_durations
from cnn_jax.training.optimizers import OptimizerConfig
from cnn_jax.training.plan import Plan
from cnn_jax.training.program import Program, Variables
from cnn_jax.training.state import TrainState
from cnn_jax.training.trainable import Trainable

Precision = Literal["float32", "bfloat16"]
Initialize = Callable[[Variables, Mapping[str, "Result"]], Variables]


@runtime_checkable
class Task(Protocol):
    """What a model is trained for; see ``cnn_jax.tasks``."""

    metrics: ClassVar[tuple[str, ...]]
    """Names of the metrics."""
    best_metric: ClassVar[str]
    """The metric that plateau, early stopping and the best checkpoint follow."""
    higher_is_better: ClassVar[bool]
    """The direction of that metric."""

    def init(self, key: Key[Array, ""], spec: Spec) -> tuple[Any, Any]:
        """Fresh ``(params, model_state)`` for examples of a spec."""
        ...

    def loss_fn(
        self, params: Any, model_state: Any, batch: Any, key: Any, train: bool
    ) -> tuple[Array, tuple[Any, dict[str, Array]]]:
        """The loss of a batch; the contract is in ``cnn_jax.training.step``."""
        ...

    def predict(self, params: Any, model_state: Any, batch: Any) -> PyTree:
        """The outputs for a batch, with one row an example."""
        ...

    def summarize(self, sums: dict[str, Any]) -> dict[str, float]:
        """The metrics that are made of added-up sums."""
        ...


@runtime_checkable
class CheckedTask(Task, Protocol):
    """A task that can tell before the first step that a data set does not fit it."""

    def check(self, dataset: Dataset) -> None:
        """Raise ConfigError if it does not."""
        ...


@runtime_checkable
class MeasuredTask(Task, Protocol):
    """A task with metrics that are no sums, such as average precision."""

    def rows(self, params: Any, model_state: Any, batch: Any) -> PyTree:
        """What ``measure`` needs of a batch, outputs and targets, with one row an example."""
        ...

    def measure(self, rows: PyTree) -> dict[str, float]:
        """The metrics of the rows of a whole split, on the host."""
        ...


@runtime_checkable
class RecurrentTask(Task, Protocol):
    """A task whose model carries state from batch to batch.

    ``loss_fn`` finds it in ``model_state["carry"]`` and returns the new one there.
    """

    def init_carry(self, batch_size: int) -> PyTree:
        """The state before the first batch, [batch, ...]; zeros."""
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
    log_every: str = "auto"
    """Distance of the training rows in metrics.csv; auto: 1, 2, 5, 10, 20, 50, … steps, so that a
    run has 50 to 125 rows, a shorter one a row for each step."""
    evaluate_every: str = "1 epoch"
    """Distance of the evaluations on the validation split."""
    save_every: str = "1 epoch"
    """Distance of the checkpoints; one is saved besides whenever an evaluation is the best."""
    eval_batch_size: int = 500
    """Examples an evaluation step, over all devices."""
    layer_gradients: bool = False
    """Also log the norm of each layer's gradient, as columns grad_norm/<layer>."""

    def __post_init__(self) -> None:
        check_range(self, 1, batch_size=self.batch_size, eval_batch_size=self.eval_batch_size)
        check_range(self, 1, accumulate=self.accumulate)
        check_range(self, 0, 1, ema_decay=self.ema_decay)
        check_durations(self, duration=self.duration, evaluate_every=self.evaluate_every)
        check_durations(self, save_every=self.save_every)
        if self.log_every != "auto":
            check_durations(self, log_every=self.log_every)


def compute_dtype(precision: Precision) -> Any:
    """The ``dtype`` attribute of a model: None is float32 (or what the parameters are)."""
    return jnp.bfloat16 if precision == "bfloat16" else None


@dataclass(frozen=True)
class Experiment:
    """One training run, ready to start."""

    dataset: Dataset
    task: Any
    """A `Task`, or what another ``program`` trains."""
    optimizer: OptimizerConfig | optax.GradientTransformation
    """One of optax makes its own schedule, of the steps from the start of the run."""
    training: TrainingConfig = field(default_factory=TrainingConfig)
    control: ControlConfig = field(default_factory=ControlConfig)
    program: Callable[["Experiment", Plan], Program] | None = None
    """Makes the program that is trained; None: ``training.supervised``, of task and optimizer."""
    initialize: Initialize | None = None
    """Changes the fresh variables, given the results of the study's earlier members: pretraining
    takes those of an earlier one."""
    trainable: Trainable | None = None
    """Which parameters train, by their path such as "head/kernel"; the others are held to the bit.
    None: all. BatchNorm's statistics are no parameters: hold them by the model's norm="frozen"."""
    figures: Mapping[str, Callable[["Result"], Any]] = field(default_factory=dict)
    """Figures by file name, drawn from the result at the end."""
    pictures: Mapping[str, Callable[[TrainState], Any]] = field(default_factory=dict)
    """Figures by file name, drawn from the state at every evaluation and numbered by its step; at
    the end those of each name become an animation, NAME.gif."""


@dataclass(frozen=True)
class Result:
    """What a finished run leaves in memory."""

    experiment: Experiment
    metrics: tuple[str, ...]
    """Names of the program's metrics."""
    control: Any
    """The ``control`` of the state that the result is about, on the host."""
    summary: dict[str, Any]
    """Metrics of each split, and what else ``summary.json`` holds: ``step`` is the length of the
    training, ``weights`` says whether the metrics are of its "last" or "best" weights, and
    ``weights_step`` is their step."""
    rows: list[dict[str, Any]]
    """The rows of ``metrics.csv``."""
    variables: Variables
    """The trained model's, on the host: the last ones, or those of the best evaluation where
    ``control.restore_best`` says so. The parameters are those that were evaluated."""
    outputs: Callable[[str], Any]
    """``outputs(split)``: what the program predicts for every example of a split, in order."""

    @property
    def held_out(self) -> str:
        """The split that a final figure is about: test, else validation, else train."""
        splits = self.experiment.dataset.splits
        return next(name for name in ("test", "validation", "train") if name in splits)
