"""The network of a run, loaded from the run's directory alone."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

from cnn_jax.description import rebuild
from cnn_jax.errors import UserError
from cnn_jax.pretrained import Network
from cnn_jax.training import Checkpoints
from cnn_jax.training.experiment import Variables

Checkpoint = int | Literal["reported", "best", "last"]


def load_run(directory: str | Path, checkpoint: Checkpoint = "reported") -> Network:
    """The network that a run trained, of any task.

    The run's directory may be copied from elsewhere. Neither its data set nor, for the models and
    tasks of this package, the experiments are needed.

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
        DescriptionError: the network's classes are not there, because they are defined in an
            experiment that cannot be imported, or because the code has changed since.
    """
    root, member, saved = read_config(directory)
    if not saved.get("networks"):
        raise UserError(
            f"{root}/config.json does not describe the run's network ('networks' is missing): it "
            f"was written by an older version, at commit {saved.get('git_commit', 'unknown')}. "
            "Start the run's command again, which resumes it and adds the description, or use that "
            "version"
        )
    if saved.get("sweep") and not (root / "checkpoints").is_dir():
        raise UserError(
            f"{root} is a sweep over learning rates that has not ended: the network of the chosen "
            "rate is saved at the end; start the run's command again, which goes on with it"
        )
    network = _member(saved["networks"], root, member)
    task, data = rebuild(network["task"]), network["data"]
    variables, at = _variables(root / member, task, checkpoint)
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
        UserError: there is no run, or its config.json cannot be read.
    """
    asked = Path(directory).expanduser()
    if (asked / "config.json").exists():
        root, member = asked.resolve(), ""
    elif (asked.resolve().parent / "config.json").exists() and asked.is_dir():
        root, member = asked.resolve().parent, asked.resolve().name
    else:
        runs = sorted(path.parent.name for path in asked.glob("*/config.json"))
        hint = f"; it contains the runs {', '.join(runs[:10])}" if runs else ""
        raise UserError(f"there is no run in {asked}: config.json is missing{hint}")
    return root, member, _read_json(root / "config.json")


def _read_json(path: Path) -> dict[str, Any]:
    try:
        return dict(json.loads(path.read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError) as error:
        raise UserError(f"cannot read {path}: {error}") from None


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
    if not folder.is_dir():
        raise UserError(f"{directory} has saved nothing yet: {folder} is missing")
    checkpoints = Checkpoints(
        folder, best_metric=task.best_metric, higher_is_better=task.higher_is_better
    )
    try:
        steps = checkpoints.steps()
        if not steps:
            raise UserError(f"{directory} has saved nothing yet: {folder} is empty")
        best, last = checkpoints.best_step(), steps[-1]
        named = {"best": best, "last": last, "reported": _reported(directory, steps)}
        step = named.get(checkpoint) if isinstance(checkpoint, str) else checkpoint
        if step not in steps:
            raise UserError(
                f"{folder} has no checkpoint {checkpoint!r}; there are "
                f"{', '.join(map(str, steps))}, and a best one only if an evaluation was saved "
                "with it"
            )
        at = f"{step:,} steps" if step == last else f"step {step:,} of {last:,}"
        if step == best and (step != last or checkpoint == "best"):
            at += ", the best"
        return checkpoints.variables(step), at
    finally:
        checkpoints.close()


def _reported(directory: Path, steps: Sequence[int]) -> int:
    """The step whose metrics the run's final table shows; the last one of an unfinished run."""
    summary = directory / "summary.json"
    reported = _read_json(summary).get("weights_step") if summary.exists() else None
    return next((step for step in steps if step == reported), steps[-1])
