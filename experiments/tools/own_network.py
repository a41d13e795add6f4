"""A small VGG that is trained on the spot, for style transfer where VGG-19 cannot be had.

It learns CIFAR-10 where this is at hand, and the embedded scenes of shapes otherwise, in a few
minutes. Its run is kept in the user's cache directory, so that it is trained once.
"""

from dataclasses import replace
from pathlib import Path

from cnn_jax.data import DataConfig, load_dataset
from cnn_jax.errors import UserError
from cnn_jax.models import create_model
from cnn_jax.pretrained import Network
from cnn_jax.pretrained.files import weights_directory
from cnn_jax.saved_run import load_run
from cnn_jax.tasks import Classification
from cnn_jax.training import Experiment
from experiments import train
from experiments.tools.run import run

COMMAND = (
    "--model cifar_vgg9 --optimizer.learning-rate 4e-3 --training.duration 320steps "
    "--data.image-size 32 --data.test none"
)
"""The words after ``python -m experiments.train``, besides the data set's name."""
DATA = {"cifar10": "CIFAR-10", "shapes": "scenes of shapes"}
"""Data sets by preference, with their titles."""


def own_network(workdir: Path | None = None) -> Network:
    """The network, trained if it has not been.

    Args:
        workdir: holds its run; by default the directory of downloaded weights.
    """
    workdir = workdir or weights_directory()
    places = {data: workdir / "own_network" / data for data in DATA}
    there = [data for data, place in places.items() if (place / "summary.json").exists()]
    data = there[0] if there else _data()
    if not there:
        words = [*COMMAND.split(), "--data.name", data, "--name", places[data].name]
        run(train.Config, build, argv=[*words, "--workdir", str(workdir)])
    title = f"our own small VGG, trained on {DATA[data]}"
    return replace(load_run(places[data]), title=title)


def build(config: train.Config) -> Experiment:
    """That of `experiments.train`; the class of a scene is that of its largest shape."""
    if config.data.name != "shapes":
        return train.build(config)
    dataset = load_dataset(config.data, default="shapes", target="box")
    model = create_model(config.model, num_classes=dataset.num_classes)
    return Experiment(dataset, Classification(model), config.optimizer, config.training)


def _data() -> str:
    *preferred, last = DATA
    for name in preferred:
        try:
            load_dataset(DataConfig(name=name), default=name)
        except UserError:
            continue
        return name
    return last
