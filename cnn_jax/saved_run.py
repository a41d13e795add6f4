"""The network of a run, loaded from the run's directory alone."""

import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

from flax.traverse_util import flatten_dict

from cnn_jax.description import rebuild
from cnn_jax.durable import DamagedFile, copy_of, read_kept_record
from cnn_jax.errors import UserError
from cnn_jax.finite import not_finite
from cnn_jax.pretrained import Network
from cnn_jax.run_record import NoRunRecord, is_run, read_run_record
from cnn_jax.training import Checkpoints
from cnn_jax.training.experiment import Variables

LISTED = 5
"""At most this many arrays that are not finite are named in a warning."""
Checkpoint = int | Literal["reported", "best", "last"]


def load_run(directory: str | Path, checkpoint: Checkpoint = "reported") -> Network:
    """The network that a run trained, of any task.

    The run's directory may be copied from elsewhere, and the run may be going on: nothing in it is
    changed. Neither its data set nor, for the models and tasks of this package, the experiments are
    needed. Where the checkpoint is damaged, "reported" and "last" are the newest whole one; a
    warning and the network's title say so. Another warning names arrays that are not finite.

    Args:
        directory: ``runs/<experiment>/<name>``, followed by the name of a member if it is a study.
            Of a sweep over learning rates, the chosen network is loaded.
        checkpoint: "reported" is the one whose metrics the run's final table shows; "best" the best
            by the task's metric on the validation split; "last" the newest one; a number the one of
            that step.

    Returns:
        The network, as `pretrained.load` returns it, with its task.

    Raises:
        UserError: there is no run or no such checkpoint, or it is a study without a member's name,
            or a run of an older version.
        NoRunRecord: its config.json is not one of a run.
        DamagedFile: no checkpoint is whole, or not the one that is asked for by its step or as the
            best.
        DescriptionError: the network's classes are not there, because they are defined in an
            experiment that cannot be imported, or because the code has changed since; or they
            refuse what is stored.
    """
    root, member, saved = read_config(directory)
    if not saved.get("networks"):
        raise UserError(
            f"{root}/config.json does not describe the run's network ('networks' is missing): it "
            f"was written by an older version, at commit {saved.get('git_commit', 'unknown')}. "
            "Start the run's command again, which resumes it and adds the description, or use that "
            "version"
        )
    if saved.get("sweep") and not (root / "checkpoints").exists():
        raise UserError(
            f"{root} is a sweep over learning rates that has not ended: the network of the chosen "
            "rate is saved at the end; start the run's command again, which goes on with it"
        )
    network = _member(saved["networks"], root, member)
    task, data = rebuild(network["task"]), network["data"]
    if not hasattr(task, "best_metric"):
        raise NoRunRecord(
            f"{root}/config.json is not one of a run: {type(task).__name__} is no task"
        )
    variables, at = _variables(root / member, task, checkpoint)
    if lines := not_finite(flatten_dict(variables, sep="/")):
        listed = "; ".join(lines[:LISTED])
        more = f"; and {len(lines) - LISTED:,} more" if len(lines) > LISTED else ""
        warnings.warn(
            f"the weights of {root / member}, {at}, are not finite: {listed}{more}", stacklevel=2
        )
    run = "/".join(filter(None, (saved["experiment"], root.name, member)))
    return Network(
        model=getattr(task, "model", None),
        variables=variables,
        preprocessing=rebuild(network["preprocessing"]),
        class_names=tuple(data["class_names"]),
        title=f"{run}, {data['title']}, {at}",
        task=task,
    )


def read_config(directory: str | Path) -> tuple[Path, str, dict[str, Any]]:
    """The directory of a run, the name of its member if one is asked for, and its config.json.

    Raises:
        UserError: there is no run.
        DamagedFile, NoRunRecord: its config.json cannot be read, or is not one of a run.
    """
    asked = Path(directory).expanduser()
    if is_run(asked):
        root, member = asked.resolve(), ""
    elif is_run(asked.resolve().parent) and asked.is_dir():
        root, member = asked.resolve().parent, asked.resolve().name
    else:
        runs = sorted(path.parent.name for path in asked.glob("*/config.json"))
        hint = f"; it contains the runs {', '.join(runs[:10])}" if runs else ""
        raise UserError(f"there is no run in {asked}: config.json is missing{hint}")
    saved, damage = read_run_record(root)
    if damage:
        warnings.warn(f"{damage}; its copy is read instead", stacklevel=3)
    return root, member, saved


def _member(networks: Mapping[str, Any], root: Path, member: str) -> Any:
    if member in networks:
        return networks[member]
    if member:
        members = ", ".join(filter(None, networks)) or "no members"
        raise UserError(f"the run {root} has no {member!r}; it has {members}")
    raise UserError(
        f"{root} has several networks; give one of them: "
        + ", ".join(str(root / name) for name in networks)
    )


def _variables(directory: Path, task: Any, checkpoint: Checkpoint) -> tuple[Variables, str]:
    """The variables of a checkpoint, and which one it is."""
    folder = directory / "checkpoints"
    if not folder.exists():
        raise UserError(f"{directory} has saved nothing yet: {folder} is missing")
    while True:
        checkpoints = Checkpoints(
            folder, best_metric=task.best_metric, higher_is_better=task.higher_is_better
        )
        steps = checkpoints.steps()
        try:
            step, at = _chosen(checkpoints, steps, directory, checkpoint)
            return checkpoints.variables(step), at
        except Exception:
            # A run that is going on may have removed what was being read.
            if checkpoints.steps() == steps:
                raise
        finally:
            checkpoints.close()


def _chosen(
    checkpoints: Checkpoints, steps: Sequence[int], directory: Path, checkpoint: Checkpoint
) -> tuple[int, str]:
    """The step of a whole checkpoint, and which one it is."""
    if not steps:
        raise UserError(f"{directory} has saved nothing yet: {checkpoints.directory} is empty")
    if checkpoint == "best":
        for step in steps:
            checkpoints.read(step, "evaluation.json")  # or another one could seem the best
    best, last = checkpoints.best_step(), steps[-1]
    asked: int | None
    if isinstance(checkpoint, int):
        asked = checkpoint
    elif checkpoint == "reported":
        asked = _reported(directory, steps)
    else:
        asked = {"best": best, "last": last}.get(checkpoint)
    if asked is None or asked not in steps:
        raise UserError(
            f"{checkpoints.directory} has no checkpoint {checkpoint!r}; there are "
            f"{', '.join(map(str, steps))}, and a best one only if an evaluation was saved with it"
        )
    step, damage = asked, checkpoints.damage(asked)
    if damage:
        step = _whole_instead(checkpoints, steps, step, damage, checkpoint)
    at = f"{step:,} steps" if step == last else f"step {step:,} of {last:,}"
    if step == best and (step != last or checkpoint == "best"):
        at += ", the best"
    return step, at + (f" (that of {asked:,} is damaged)" if damage else "")


def _whole_instead(
    checkpoints: Checkpoints, steps: Sequence[int], step: int, damage: str, checkpoint: Checkpoint
) -> int:
    """The newest whole checkpoint in place of a damaged one, with a warning."""
    whole = [one for one in steps if one != step and not checkpoints.damage(one)]
    if not whole or checkpoint not in ("reported", "last") or checkpoints.steps() != steps:
        there = f"; those of {', '.join(map(str, whole))} are whole" if whole else ""
        raise DamagedFile(f"the checkpoint of step {step:,} is damaged: {damage}{there}")
    warnings.warn(
        f"the checkpoint of step {step:,} is damaged ({damage}); the newest whole one, of step "
        f"{whole[-1]:,}, is loaded instead",
        stacklevel=5,
    )
    return whole[-1]


def _reported(directory: Path, steps: Sequence[int]) -> int:
    """The step whose metrics the run's final table shows; the last one of an unfinished run."""
    path = directory / "summary.json"
    if not (path.exists() or copy_of(path).exists()):
        return steps[-1]
    summary, damage = read_kept_record(path)
    if damage:
        warnings.warn(f"{damage}; its copy is read instead", stacklevel=5)
    return next((step for step in steps if step == summary.get("weights_step")), steps[-1])
