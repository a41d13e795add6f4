"""State, step, parallelism, optimizers, the loop, checkpoints, logs."""

from cnn_jax.training.airbench_muon import airbench_muon, orthogonalize
from cnn_jax.training.checkpoint import CheckpointMismatch, Checkpoints
from cnn_jax.training.control import Control, ControlConfig, adapt, init_control
from cnn_jax.training.duration import to_steps
from cnn_jax.training.experiment import (
    Experiment,
    Precision,
    Result,
    Task,
    TrainingConfig,
    compute_dtype,
)
from cnn_jax.training.feed import EvalFeed, TrainFeed
from cnn_jax.training.host_memory import keep_freed_memory
from cnn_jax.training.logs import MetricsFile, RunLog, read_metrics, tensorboard_writer
from cnn_jax.training.loop import Interrupted, Plan, TrainingDiverged, fit
from cnn_jax.training.optimizers import (
    OptimizerConfig,
    decay_mask,
    l2_penalty,
    make_optimizer,
    make_schedule,
)
from cnn_jax.training.parallel import (
    Mode,
    Parallel,
    initialize_processes,
    is_primary,
    make_parallel,
)
from cnn_jax.training.prepare import make_prepare
from cnn_jax.training.state import TrainState, evaluated_params, init_state
from cnn_jax.training.step import make_eval_step, make_train_step
from cnn_jax.training.sweep import SweepConfig, SweepResult, sweep
from cnn_jax.training.train import train

__all__ = [
    "CheckpointMismatch",
    "Checkpoints",
    "Control",
    "ControlConfig",
    "EvalFeed",
    "Experiment",
    "Interrupted",
    "MetricsFile",
    "Mode",
    "OptimizerConfig",
    "Parallel",
    "Plan",
    "Precision",
    "Result",
    "RunLog",
    "SweepConfig",
    "SweepResult",
    "Task",
    "TrainFeed",
    "TrainState",
    "TrainingConfig",
    "TrainingDiverged",
    "adapt",
    "airbench_muon",
    "compute_dtype",
    "decay_mask",
    "evaluated_params",
    "fit",
    "init_control",
    "init_state",
    "initialize_processes",
    "is_primary",
    "keep_freed_memory",
    "l2_penalty",
    "make_eval_step",
    "make_optimizer",
    "make_parallel",
    "make_prepare",
    "make_schedule",
    "make_train_step",
    "orthogonalize",
    "read_metrics",
    "sweep",
    "tensorboard_writer",
    "to_steps",
    "train",
]
