"""State, program, parallelism, optimizers, the loop, checkpoints, logs."""

from cnn_jax.training.adversarial import AdversarialTask, adversarial
from cnn_jax.training.airbench_muon import airbench_muon, orthogonalize
from cnn_jax.training.checkpoint import Checkpoints
from cnn_jax.training.control import Control, ControlConfig, adapt, init_control
from cnn_jax.training.distributed import initialize_processes, is_primary, leaving_soon
from cnn_jax.training.duration import check_durations, to_steps
from cnn_jax.training.experiment import (
    CheckedTask,
    Experiment,
    MeasuredTask,
    Precision,
    RecurrentTask,
    Result,
    Task,
    TrainingConfig,
    compute_dtype,
)
from cnn_jax.training.feed import EvalFeed, TrainFeed
from cnn_jax.training.host_memory import keep_freed_memory
from cnn_jax.training.lock import DirectoryInUse
from cnn_jax.training.loop import TrainingDiverged, fit
from cnn_jax.training.mapped import gather_over_devices, key_of_device, sum_over_devices
from cnn_jax.training.metrics_file import MetricsFile, Row, read_metrics, write_metrics
from cnn_jax.training.optimizers import (
    OptimizerConfig,
    decay_mask,
    l2_penalty,
    make_optimizer,
    make_schedule,
)
from cnn_jax.training.parallel import Mode, Parallel, make_parallel
from cnn_jax.training.plan import Plan
from cnn_jax.training.preprocess import make_preprocess
from cnn_jax.training.program import (
    Batch,
    Evaluated,
    Metrics,
    Program,
    Sums,
    Variables,
    step_sums,
    training_metrics,
)
from cnn_jax.training.run_log import RunLog
from cnn_jax.training.runner import Runner
from cnn_jax.training.saved_arrays import CheckpointMismatch
from cnn_jax.training.signals import Interrupted
from cnn_jax.training.state import TrainState, evaluated_params, init_state
from cnn_jax.training.step import make_train_step
from cnn_jax.training.supervised import supervised
from cnn_jax.training.sweep import SweepConfig, SweepResult, sweep
from cnn_jax.training.tensorboard import tensorboard_writer
from cnn_jax.training.train import make_plan, prepare_run, train

__all__ = [
    "AdversarialTask",
    "Batch",
    "CheckedTask",
    "CheckpointMismatch",
    "Checkpoints",
    "Control",
    "ControlConfig",
    "DirectoryInUse",
    "EvalFeed",
    "Evaluated",
    "Experiment",
    "Interrupted",
    "MeasuredTask",
    "Metrics",
    "MetricsFile",
    "Mode",
    "OptimizerConfig",
    "Parallel",
    "Plan",
    "Precision",
    "Program",
    "RecurrentTask",
    "Result",
    "Row",
    "RunLog",
    "Runner",
    "Sums",
    "SweepConfig",
    "SweepResult",
    "Task",
    "TrainFeed",
    "TrainState",
    "TrainingConfig",
    "TrainingDiverged",
    "Variables",
    "adapt",
    "adversarial",
    "airbench_muon",
    "check_durations",
    "compute_dtype",
    "decay_mask",
    "evaluated_params",
    "fit",
    "gather_over_devices",
    "init_control",
    "init_state",
    "initialize_processes",
    "is_primary",
    "keep_freed_memory",
    "key_of_device",
    "l2_penalty",
    "leaving_soon",
    "make_optimizer",
    "make_parallel",
    "make_plan",
    "make_preprocess",
    "make_schedule",
    "make_train_step",
    "orthogonalize",
    "prepare_run",
    "read_metrics",
    "step_sums",
    "sum_over_devices",
    "supervised",
    "sweep",
    "tensorboard_writer",
    "to_steps",
    "train",
    "training_metrics",
    "write_metrics",
]
