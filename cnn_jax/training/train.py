"""A training run: the loop with program, feeds, checkpoints and log around it."""

import functools
from collections.abc import Callable, Mapping
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from rich.console import Console

from cnn_jax.errors import ConfigError
from cnn_jax.training.control import Control, ControlConfig, adapt
from cnn_jax.training.distributed import HangWatch, is_primary
from cnn_jax.training.duration import to_steps
from cnn_jax.training.experiment import Experiment, Result
from cnn_jax.training.lock import locked
from cnn_jax.training.loop import TrainingDiverged, fit
from cnn_jax.training.metrics_file import MetricsFile, Row
from cnn_jax.training.parallel import Parallel, make_parallel
from cnn_jax.training.plan import Plan, round_distance
from cnn_jax.training.program import Metrics, Program, Variables, training_metrics
from cnn_jax.training.run_log import RunLog
from cnn_jax.training.runner import Runner
from cnn_jax.training.saved_state import SavedState
from cnn_jax.training.signals import stop_signals
from cnn_jax.training.state import TrainState, evaluated_params
from cnn_jax.training.supervised import supervised
from cnn_jax.training.trainable import split_params


def train(
    experiment: Experiment,
    directory: str | Path,
    parallel: Parallel | None = None,
    *,
    seed: int = 0,
    title: str = "",
    console: Console | None = None,
    writer: Callable[[int, dict[str, float]], None] | None = None,
    draw: Callable[[int, TrainState], None] = lambda step, state: None,
    profile: Path | None = None,
    earlier: Mapping[str, Result] | None = None,
) -> Result:
    """Train an experiment, or go on with it where ``directory`` holds a checkpoint.

    With ``experiment.control.restores_best`` the result is about the weights of the best
    evaluation. What a resumed run goes on from are the last ones nevertheless.

    Args:
        experiment: what to train.
        directory: gets ``checkpoints/`` and ``metrics.csv``.
        parallel: how to spread it over the devices; None is `make_parallel`'s one program over all.
        seed: decides initialization, order of examples and all other randomness.
        title: shown at the progress bar; by default the data set's.
        console: where a person looks; None is silent.
        writer: also gets every row of the metrics.
        draw: is called with step and state after each evaluation, for pictures during training.
        profile: gets a ``jax.profiler`` trace of the second chunk of steps.
        earlier: results of a study's earlier members, for ``experiment.initialize``.

    Raises:
        ConfigError: the configuration does not fit the data or the devices, or the directory's
            checkpoint is of a later step than the run's end.
        CheckpointMismatch: the directory's checkpoint is of another model.
        DamagedFile: the directory has checkpoints, and none is whole.
        DirectoryInUse: another process trains there.
        TrainingDiverged: the loss is no longer finite.
        Interrupted: the run was asked to stop, and has saved its state.
    """
    directory, parallel = Path(directory), parallel or make_parallel()
    with locked(directory):
        plan, runner = prepare_run(experiment, parallel, seed=seed)
        program = runner.program
        saved = SavedState(directory / "checkpoints", runner, _initial(experiment, earlier or {}))
        if saved.first is not None and saved.first > plan.total:
            saved.checkpoints.close()
            raise ConfigError(
                f"{directory} has been trained for {saved.first:,} steps, more than the "
                f"{plan.total:,} of --training.duration {experiment.training.duration!r}; give a "
                "longer one"
            )
        columns = dict.fromkeys(["loss", *program.metrics, *saved.sums["per_step"]])
        metrics_file = MetricsFile(
            directory / "metrics.csv", list(columns), record=saved.record, writes=is_primary()
        )
        validated = "validation" in experiment.dataset.splits
        log = RunLog(
            metrics_file,
            console,
            title=title or experiment.dataset.title,
            plan=plan,
            first=saved.first,
            counted=program.counted,
            stopped=bool(saved.state.control.stopped),
            training_metrics=partial(training_metrics, program),
            writer=writer,
            notes=[*saved.notes, *metrics_file.notes],
            remark=program.remark,
        )

        def decide(state: TrainState, metrics: Metrics) -> TrainState:
            control = program.adapt or partial(_follow_best_metric, program)
            decided = control(state.control, metrics, experiment.control)
            return state.replace(control=parallel.place(decided))

        evaluated = {row["step"] for row in metrics_file.rows if row["split"] == "validation"}
        first = saved.first
        try:
            # Outermost, so that no signal keeps the last checkpoint from being finished.
            with (
                stop_signals() as stop_requested,
                closing(saved.checkpoints),
                closing(HangWatch()) as watch,
                log,
            ):
                advance = watch.watched(runner.advance)
                state = fit(
                    saved.state,
                    saved.sums,
                    plan=plan,
                    advance=_profiled(advance, profile) if profile else advance,
                    evaluate=partial(runner.evaluate, split="validation") if validated else None,
                    adapt=decide,
                    draw=lambda step, state: draw(step, parallel.whole(state)),
                    place=parallel.place,
                    observer=log,
                    save=partial(saved.save, metrics_file=metrics_file),
                    is_best=saved.checkpoints.is_best,
                    stop_requested=stop_requested,
                    resumed=first is not None,
                    unfinished=validated
                    and first is not None
                    and plan.evaluates(first)
                    and first not in evaluated,
                )
                reported = saved.best(state) if experiment.control.restores_best else state
        except TrainingDiverged as error:
            last = saved.checkpoints.latest_step()
            good = (
                f"the last good checkpoint is step {last}" if last else "nothing was saved before"
            )
            raise TrainingDiverged(
                f"{error}; {good} in {directory}. A lower --optimizer.learning-rate, a warm-up or "
                "--optimizer.clip-norm 1 usually helps"
            ) from None
        return _result(experiment, runner, plan, state, reported, metrics_file.rows, saved.seconds)


def make_plan(experiment: Experiment) -> Plan:
    """When the things of an experiment happen.

    Raises:
        ConfigError: a duration of another form.
    """
    config, train_split = experiment.training, experiment.dataset.splits["train"]
    steps_per_epoch = train_split.steps_per_epoch(config.batch_size)
    steps = partial(to_steps, batch_size=config.batch_size, steps_per_epoch=steps_per_epoch)
    total, log_every = steps(config.duration), config.log_every
    return Plan(
        total=total,
        log_every=round_distance(total) if log_every == "auto" else max(1, steps(log_every)),
        evaluate_every=max(1, steps(config.evaluate_every)),
        save_every=max(1, steps(config.save_every)),
        batch_size=config.batch_size,
        steps_per_epoch=steps_per_epoch,
    )


def prepare_run(experiment: Experiment, parallel: Parallel, *, seed: int) -> tuple[Plan, Runner]:
    """The plan of an experiment, and its program on the devices.

    Raises:
        ConfigError: the configuration does not fit the data or the devices.
    """
    config, dataset = experiment.training, experiment.dataset
    parallel.check_batch(config.batch_size, config.accumulate)
    if experiment.control.reads_validation and "validation" not in dataset.splits:
        raise ConfigError(
            "decrease on plateau, early stopping and the best weights need a validation split, and "
            f"{dataset.title} has only {', '.join(dataset.splits)}; name one with "
            "--data.validation, or leave the --control flags at 0 and auto"
        )
    plan = make_plan(experiment)
    program = (experiment.program or supervised)(experiment, plan)
    runner = Runner(
        program,
        experiment.dataset,
        parallel,
        batch_size=config.batch_size,
        eval_batch_size=config.eval_batch_size,
        seed=seed,
    )
    return plan, runner


def _initial(
    experiment: Experiment, earlier: Mapping[str, Result]
) -> Callable[[Variables], Variables]:
    """What maps the fresh variables to those that training starts from."""

    def change(fresh: Variables) -> Variables:
        if experiment.initialize is None:
            return fresh
        variables = dict(experiment.initialize(fresh, earlier))
        _check_initialized(variables, fresh)
        return variables

    return change


def _check_initialized(variables: Variables, fresh: Variables) -> None:
    """Raise ValueError where ``initialize`` gives other arrays than it was given."""
    there, wanted = (
        {jax.tree_util.keystr(path): jnp.shape(leaf) for path, leaf in leaves}
        for leaves in map(jax.tree_util.tree_leaves_with_path, (variables, fresh))
    )
    wrong = [
        f"  {name}: {there.get(name, 'missing')}, expected {wanted.get(name, 'nothing')}"
        for name in sorted(there.keys() | wanted.keys())
        if there.get(name) != wanted.get(name)
    ]
    if wrong:
        raise ValueError(
            "initialize gives variables that are not the model's:\n" + "\n".join(wrong)
        )


def _follow_best_metric(
    program: Program, control: Control, metrics: Metrics, config: ControlConfig
) -> Control:
    metric = metrics[program.best_metric]
    return adapt(control, metric, config, higher_is_better=program.higher_is_better)


def _result(
    experiment: Experiment,
    runner: Runner,
    plan: Plan,
    last: TrainState,
    state: TrainState,
    rows: list[Row],
    seconds: float,
) -> Result:
    """What a finished run leaves; here the test split is evaluated, once.

    Args:
        experiment, runner, plan: of the run.
        last: the state at the end.
        state: the one that the result is about.
        rows: of ``metrics.csv``.
        seconds: of the training.
    """

    def count(params: Any) -> int:
        return sum(leaf.size for leaf in jax.tree.leaves(params))

    step = int(last.step)
    summary: dict[str, Any] = {
        "step": step,
        "epochs": round(step / plan.steps_per_epoch, 4),
        "weights": "best" if experiment.control.restores_best else "last",
        "weights_step": int(state.step),
        "stopped_early": bool(last.control.stopped),
        "parameters": count(state.params),
        "trained_parameters": count(split_params(state.params, experiment.trainable)[0]),
        "train_seconds": round(seconds, 2),
    }
    for split in ("validation", "test"):
        if split in experiment.dataset.splits:
            summary[split] = runner.evaluate(state, split)
    whole = runner.parallel.whole(state)
    variables = {"params": evaluated_params(whole), **whole.model_state}
    return Result(
        experiment=experiment,
        metrics=runner.program.metrics,
        control=jax.tree.map(np.asarray, state.control),
        summary=summary,
        rows=rows,
        variables=jax.tree.map(np.asarray, variables),
        outputs=functools.cache(partial(runner.outputs, state)),
    )


def _profiled(advance: Callable, directory: Path) -> Callable:
    """Trace the second call: the first one compiles."""
    calls = 0

    def traced(state: Any, sums: Any, n: int) -> Any:
        nonlocal calls
        calls += 1
        if calls != 2:
            return advance(state, sums, n)
        with jax.profiler.trace(str(directory)):
            return jax.block_until_ready(advance(state, sums, n))

    return traced
