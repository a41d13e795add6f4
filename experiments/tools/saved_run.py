"""The network of a run, described in its `config.json` and loaded from its directory alone."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import numpy as np

from cnn_jax.data import Dataset
from cnn_jax.description import describe, rebuild
from cnn_jax.pretrained import Network, Preprocessing
from cnn_jax.training import Experiment
from cnn_jax.training.checkpoint import Checkpoints
from cnn_jax.training.experiment import Variables
from experiments.tools import run_directory
from experiments.tools.run_directory import RunDirectoryError

Step = int | Literal["last", "best"]
"""Which checkpoint: of a step, the last one, or the best by the task's metric on validation."""


def describe_networks(study: Mapping[str, Experiment], config: Any) -> dict[str, Any]:
    """What `config.json` says of the network and the data of each member of a study.

    Args:
        study: experiments by name; one that is no study has the name "".
        config: their configuration; `config.data.resize` is how their images were resized.

    Raises:
        DescriptionError: a task or module has a field that cannot be described.
    """
    resize = getattr(getattr(config, "data", None), "resize", 0)
    return {
        name: {
            "task": describe(one.task),
            "preprocessing": describe(_preprocessing(one.dataset, resize)),
            "data": _fingerprint(one.dataset),
        }
        for name, one in study.items()
    }


def _preprocessing(dataset: Dataset, resize: int) -> Preprocessing | None:
    """An image as evaluations saw those of the data set; None if it has no images of bytes."""
    image = dataset.spec.get("image")
    if image is None or image.dtype != np.uint8:
        return None
    height, width, _ = image.shape
    return Preprocessing(resize, (height, width), dataset.mean, dataset.std)


def _fingerprint(dataset: Dataset) -> dict[str, Any]:
    """What a run depends on of its data; a run whose data differ in it isn't resumed."""
    return {
        "name": dataset.name,
        "title": dataset.title,
        "examples": {name: len(split) for name, split in dataset.splits.items()},
        "spec": {
            name: {"shape": list(one.shape), "dtype": np.dtype(one.dtype).name}
            for name, one in dataset.spec.items()
        },
        "mean": list(dataset.mean),
        "std": list(dataset.std),
        "class_names": list(dataset.class_names),
    }


def load_run(directory: str | Path, step: Step = "last") -> Network:
    """The network that a run trained, of any task; the run's data set is not needed.

    Args:
        directory: ``runs/<experiment>/<name>``, followed by the name of a member if it is a study.
        step: which checkpoint.

    Raises:
        RunDirectoryError: there is no run or no such checkpoint, or it is a sweep, a study without
            a member's name, or a run of an older version.
        DescriptionError: the code has changed since, and with it the network's classes.
    """
    root, member = _root_and_member(Path(directory).expanduser())
    saved = run_directory.read_json(root / "config.json")
    if saved.get("sweep"):
        raise RunDirectoryError(
            f"{root} is a sweep over learning rates, whose networks cannot be loaded; train the "
            "one you want with --optimizer.learning-rate"
        )
    if not saved.get("networks"):
        raise RunDirectoryError(
            f"{root}/config.json does not describe the run's network ('networks' is missing): it "
            f"was written by an older version, at commit {saved.get('git_commit', 'unknown')}. "
            "Start the run's command again, which resumes it and adds the description, or use that "
            "version"
        )
    network = _member(saved["networks"], root, member)
    task, data = rebuild(network["task"]), network["data"]
    variables, at = _variables(root / member, task, step)
    run = "/".join(filter(None, (saved["experiment"], root.name, member)))
    return Network(
        model=getattr(task, "model", None),
        variables=variables,
        preprocessing=rebuild(network["preprocessing"]),
        class_names=tuple(data["class_names"]),
        title=f"{run}, {data['title']}, {at:,} steps",
        task=task,
    )


def _root_and_member(directory: Path) -> tuple[Path, str]:
    """The run's own directory, and the name of its member if one is asked for."""
    if (directory / "config.json").exists():
        return directory, ""
    if directory.is_dir() and (directory.parent / "config.json").exists():
        return directory.parent, directory.name
    runs = sorted(path.parent.name for path in directory.glob("*/config.json"))
    hint = f"; it contains the runs {', '.join(runs[:10])}" if runs else ""
    raise RunDirectoryError(f"there is no run in {directory}: config.json is missing{hint}")


def _member(networks: Mapping[str, Any], root: Path, member: str) -> Any:
    if member in networks:
        return networks[member]
    if member:
        members = ", ".join(filter(None, networks)) or "no members"
        raise RunDirectoryError(f"the run {root} has no {member!r}; it has {members}")
    raise RunDirectoryError(
        f"{root} has several networks; give one of them: "
        + ", ".join(str(root / name) for name in networks)
    )


def _variables(directory: Path, task: Any, step: Step) -> tuple[Variables, int]:
    """The variables of a checkpoint, and its step."""
    folder = directory / "checkpoints"
    if not folder.is_dir():
        raise RunDirectoryError(f"{directory} has saved nothing yet: {folder} is missing")
    checkpoints = Checkpoints(
        folder, best_metric=task.best_metric, higher_is_better=task.higher_is_better
    )
    try:
        steps = checkpoints.steps()
        if not steps:
            raise RunDirectoryError(f"{directory} has saved nothing yet: {folder} is empty")
        named = {"last": steps[-1], "best": checkpoints.best_step()}
        found = named[step] if isinstance(step, str) else step
        if found not in steps:
            raise RunDirectoryError(
                f"{folder} has no checkpoint {step!r}; there are {', '.join(map(str, steps))}, and "
                "a best one only if an evaluation was saved with it"
            )
        return checkpoints.variables(found), found
    finally:
        checkpoints.close()
