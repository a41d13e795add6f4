"""A trained network of one's own, rebuilt from the directory of its run."""

import importlib
import importlib.util
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from cnn_jax.training.assembly import SavedRun, assemble
from flax import linen as nn
from jax.sharding import AxisType
from jaxtyping import Float32, UInt8
from PIL import Image as PillowImage

from cnn_jax.data import DataError, Dataset
from cnn_jax.tasks import Classification
from cnn_jax.training import Experiment, Parallel, evaluated_params
from cnn_jax.training.experiment import Variables
from experiments.tools import run_directory
from experiments.tools.run_directory import RunDirectoryError


@dataclass(frozen=True)
class RunPreprocessing:
    """An image as a run's network saw those of its data set; called, it gives the model's input.

    Attributes:
        image_shape: height, width and channels (1: gray, 3: RGB) of the network's images.
        mean: of each channel, of images in [0, 1]; subtracted.
        std: of each channel, of images in [0, 1]; divided by.
        resize: pixels of the shorter side before the centre is cut out; 0: as many as fit.
    """

    image_shape: tuple[int, int, int]
    mean: tuple[float, ...]
    std: tuple[float, ...]
    resize: int = 0

    def __call__(
        self, image: UInt8[np.ndarray, "height width 3"]
    ) -> Float32[np.ndarray, "out_height out_width channels"]:
        """The model's input for an RGB image."""
        pixels = self.resize_and_crop(image).astype(np.float32) / np.float32(255)
        return (pixels - np.array(self.mean, np.float32)) / np.array(self.std, np.float32)

    def resize_and_crop(
        self, image: UInt8[np.ndarray, "height width 3"]
    ) -> UInt8[np.ndarray, "out_height out_width channels"]:
        """What the model sees of an RGB image, before it is normalized."""
        height, width, channels = self.image_shape
        picture = PillowImage.fromarray(image).convert("L" if channels == 1 else "RGB")
        shorter = min(picture.size)
        scale = max(height / picture.height, width / picture.width, self.resize / shorter)
        # Not below what is cut out, whatever the rounding.
        size = max(width, int(picture.width * scale)), max(height, int(picture.height * scale))
        picture = picture.resize(size, PillowImage.Resampling.BILINEAR)
        left, top = round((size[0] - width) / 2), round((size[1] - height) / 2)
        pixels = np.asarray(picture.crop((left, top, left + width, top + height)))
        return pixels[..., None] if channels == 1 else pixels


@dataclass(frozen=True)
class SavedNetwork:
    """A trained classifier.

    Attributes:
        model: the module.
        variables: `params` and statistics, as the run's last evaluation used them.
        preprocessing: makes the model's input of a uint8 RGB image.
        class_names: by label.
        title: the run, the data it was trained on, and for how many steps.
    """

    model: nn.Module
    variables: Variables
    preprocessing: RunPreprocessing
    class_names: tuple[str, ...]
    title: str


@dataclass(frozen=True)
class TrainedRun:
    """What a run trained, and what it left: of any task."""

    experiment: Experiment
    variables: Variables
    resize: int
    title: str


def load_run(directory: str | Path) -> SavedNetwork:
    """The classifier that a run trained.

    Args:
        directory: ``runs/<experiment>/<name>``, and the name of a member where it is a study.

    Raises:
        RunDirectoryError: as `restore_run`; a run whose task is not classification of images.
    """
    run = restore_run(directory)
    task, dataset = run.experiment.task, run.experiment.dataset
    if not isinstance(task, Classification) or len(dataset.image_shape) != 3:
        raise RunDirectoryError(
            f"{directory} trained no classifier of images, but {type(task).__name__} of "
            f"{dataset.title}; give the run of a classifier"
        )
    return SavedNetwork(
        model=task.model,
        variables=run.variables,
        preprocessing=_preprocessing(dataset, run.resize),
        class_names=dataset.class_names,
        title=run.title,
    )


def restore_run(directory: str | Path) -> TrainedRun:
    """A run's experiment and its last checkpoint: the moving average where there is one.

    The experiment is built anew from ``config.json``, so its data must be at hand.

    Raises:
        RunDirectoryError: no run, several of them, none that has saved anything, a sweep, an
            experiment that is not there, or one whose data have changed.
        CheckpointMismatch: the code has changed since, and with it the model.
    """
    root, member = _root_and_member(Path(directory).expanduser())
    saved = run_directory.read_json(root / "config.json")
    if run_directory.load_rates(root):
        raise RunDirectoryError(
            f"{root} is a sweep over learning rates, whose networks cannot be taken out; train the "
            "one you want with --optimizer.learning-rate"
        )
    name = str(saved.get("experiment"))
    if importlib.util.find_spec(f"experiments.{name}") is None:
        raise RunDirectoryError(f"{root} is a run of {name!r}, and there is no such experiment")
    module: Any = importlib.import_module(f"experiments.{name}")
    config, seed = run_directory.load_config(module.Config, root)
    try:
        built = module.build(config)
    except DataError as error:
        raise RunDirectoryError(
            f"{root} was trained on {saved['data']['title']}, which its network is rebuilt with "
            f"and which cannot be opened here: {error}"
        ) from None
    experiment = _member(built, root, member)
    _check_data(experiment.dataset, saved["data"], root)
    variables, step = _last_variables(experiment, root / member, seed)
    run = "/".join(filter(None, (name, root.name, member)))
    return TrainedRun(
        experiment=experiment,
        variables=variables,
        resize=getattr(getattr(config, "data", None), "resize", 0),
        title=f"{run}, {experiment.dataset.title}, {step:,} steps",
    )


def _root_and_member(directory: Path) -> tuple[Path, str]:
    """The run's own directory, and the name of its member where one is asked for."""
    if (directory / "config.json").exists():
        return directory, ""
    if directory.is_dir() and (directory.parent / "config.json").exists():
        return directory.parent, directory.name
    runs = sorted(path.parent.name for path in directory.glob("*/config.json"))
    hint = f"; there are {', '.join(runs[:10])} in it" if runs else ""
    raise RunDirectoryError(f"there is no run in {directory}: config.json is missing{hint}")


def _member(built: Experiment | Mapping[str, Experiment], root: Path, member: str) -> Experiment:
    study = built if isinstance(built, Mapping) else {"": built}
    if member in study:
        return study[member]
    if member:
        raise RunDirectoryError(
            f"the run {root} has no {member!r}; it has {', '.join(study) or 'none'}"
        )
    raise RunDirectoryError(
        f"{root} has several networks; give one of them: "
        + ", ".join(str(root / name) for name in study)
    )


def _check_data(dataset: Dataset, trained_on: Mapping[str, str], root: Path) -> None:
    if dataset.name != trained_on["name"]:
        raise RunDirectoryError(
            f"{root} was trained on {trained_on['title']}, which is not at hand (found: "
            f"{dataset.title}); set TFDS_DATA_DIR to where it lies"
        )


def _last_variables(experiment: Experiment, directory: Path, seed: int) -> tuple[Variables, int]:
    """The variables of the last checkpoint, and its step."""
    checkpoints = directory / "checkpoints"
    if not checkpoints.is_dir():
        raise RunDirectoryError(f"{directory} has saved nothing yet: {checkpoints} is missing")
    mesh = jax.make_mesh((1,), ("data",), axis_types=(AxisType.Auto,), devices=jax.devices()[:1])
    one_device = Parallel(mode="jit", mesh=mesh)
    # What the run began with does not matter, and may need the results of others.
    fresh = replace(experiment, initialize=None)
    parts = assemble(fresh, one_device, seed=seed)
    feed = parts.train_feed(parts.train_step, seed)
    saved = SavedRun(checkpoints, parts.task, one_device, parts.state, feed)
    try:
        if not saved.first:
            raise RunDirectoryError(f"{directory} has saved nothing yet: {checkpoints} is empty")
        state = saved.state
        variables = {"params": evaluated_params(state), **state.model_state}
        return jax.tree.map(lambda leaf: jnp.asarray(np.asarray(leaf)), variables), saved.first
    finally:
        saved.checkpoints.close()


def _preprocessing(dataset: Dataset, resize: int) -> RunPreprocessing:
    height, width, channels = dataset.image_shape
    return RunPreprocessing((height, width, channels), dataset.mean, dataset.std, resize)
