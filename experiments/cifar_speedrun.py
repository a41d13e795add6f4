"""CIFAR-10 to 94% in seconds: good initialization and good updates replace most of the training.

Lecture: "Training". Source: Jordan 2024, "94% on CIFAR-10 in 3.29 Seconds on a Single GPU", and
github.com/KellerJordan/cifar10-airbench, `airbench94_muon.py`. This is its recipe; its own result
is 94.01% (mean of 200 runs) in 2.59 s on an A100.

    python -m experiments.cifar_speedrun --runs 25 --data.validation none     a GPU, as the record
    python -m experiments.cifar_speedrun --recipe cpu                         90,000 images

The recipe: the first convolution whitens 2x2 patches, and only its bias is trained; the other
convolutions start as the identity; Muon trains filters, SGD trains biases and the head; each image
is mirrored in every other epoch and moved by up to 2 pixels; labels are smoothed; outputs are
averaged over mirrored and moved views of each test image.

Two times are reported. The time of a run is measured as for the record: initialization, whitening,
training and evaluation with all views, once the programs are compiled and the data is on the
device. The other time is from the start of the process to the end of the first run.
"""

import csv
import math
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal

import jax
import numpy as np
import tyro
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from cnn_jax.data import (
    ArraySplit,
    Augment,
    DataConfig,
    Dataset,
    RandomFlip,
    load_dataset,
    random_crop,
    random_flip,
)
from cnn_jax.errors import ConfigError, check_range
from cnn_jax.layers.cpu import onednn
from cnn_jax.training import make_parallel
from cnn_jax.visual import accuracies_of_runs, save_figure
from experiments.tools import run_directory
from experiments.tools.command_line import choose_defaults
from experiments.tools.console import standard_console
from experiments.tools.messages import user_errors
from experiments.tools.process_time import seconds_since_start
from experiments.tools.run import set_up_jax
from experiments.tools.speedrun import (
    Run,
    SpeedrunConfig,
    held_out,
    make_speedrun,
    run_once,
    warm_up,
)

TARGET = 0.94


@dataclass(frozen=True)
class Config:
    """CIFAR-10 with the recipe of airbench94, several runs in one process."""

    recipe: Literal["record", "cpu"] = "record"
    """record: 8 epochs in batches of 2000; cpu: 2 epochs in batches of 500, float32, one run."""
    runs: int = 5
    """Number of runs; they differ in initialization, order and augmentation."""
    data: DataConfig = field(default_factory=DataConfig)
    training: SpeedrunConfig = field(default_factory=SpeedrunConfig)
    seed: int = 0
    """Seed of initialization, order of examples and augmentation of all runs."""
    workdir: str = "runs"
    """Results are written to WORKDIR/cifar_speedrun/<hash of the configuration>."""
    smoke: bool = False
    """Make a few steps on small images, to test that everything works."""

    def __post_init__(self) -> None:
        check_range(self, 1, runs=self.runs)
        check_range(self, 0, seed=self.seed)


RECORD = Config()
CPU = Config(
    recipe="cpu",
    runs=1,
    training=SpeedrunConfig(
        epochs=2.0, whitening_epochs=0.75, batch_size=500, views="mirror", precision="float32"
    ),
)
RECIPES = {"record": RECORD, "cpu": CPU}
SMOKE = Config(
    runs=2,
    data=DataConfig(name="digits", image_size=16),
    training=SpeedrunConfig(epochs=0.25, whitening_epochs=0.1, batch_size=96, precision="float32"),
    smoke=True,
)


def load(config: Config) -> tuple[Config, Dataset]:
    """Load CIFAR-10 or the named data set, and adapt the configuration to it.

    Raises:
        ConfigError: the data set is streamed, or has no held-out split.
    """
    augment: list[Augment] = [random_crop(config.training.translate, "reflect"), random_flip()]
    dataset = load_dataset(config.data, default="cifar10", augment=augment)
    notes = []
    if dataset.stand_in:
        # Digits of 8x8 pixels are smaller than the network's pooling.
        config = replace(
            config,
            data=replace(config.data, image_size=16),
            training=replace(config.training, batch_size=96, precision="float32"),
        )
        dataset = load_dataset(config.data, default="cifar10", augment=augment)
        notes.append("batches of 96 in float32, and images enlarged to 16x16 pixels")
    if RandomFlip() not in dataset.augment and config.training.views != "plain":
        config = replace(config, training=replace(config.training, views="plain"))
        notes.append("views: plain, because mirror images do not belong to the same class")
    if not all(isinstance(split, ArraySplit) for split in dataset.splits.values()):
        raise ConfigError(f"{dataset.title} is streamed; use --data.storage device")
    if not dataset.splits.keys() & {"test", "validation"}:
        raise ConfigError(
            f"{dataset.title} has neither a test nor a validation split; leave --data.validation "
            "and --data.test at their defaults, or name some examples"
        )
    return config, replace(dataset, notes=(*dataset.notes, *notes))


def main(argv: Sequence[str] | None = None) -> None:
    """Make the runs, and write and print their results."""
    console = standard_console()
    with user_errors(console):
        config = tyro.cli(
            Config,
            prog="python -m experiments.cifar_speedrun",
            description=__doc__,
            args=argv,
            default=choose_defaults(RECIPES, SMOKE, argv),
        )
        speedrun(config, console)


def speedrun(config: Config, console: Console) -> None:
    """Make all runs of a configuration, from the data to the figure."""
    set_up_jax()
    if os.environ.get("CNN_JAX_DISTRIBUTED"):
        raise ConfigError("cifar_speedrun uses one process: unset CNN_JAX_DISTRIBUTED")
    config, dataset = load(config)
    split = held_out(dataset)
    title = f"{dataset.title}, {len(dataset.splits[split]):,} {split} images"
    parallel = make_parallel("jit")
    data = {"name": dataset.name, "title": dataset.title}
    identity = run_directory.identity("cifar_speedrun", config, config.seed, data)
    directory = Path(config.workdir, "cifar_speedrun", run_directory.default_name(identity))
    run_directory.claim(directory, identity, {}, notes=dataset.notes)
    device = f"{parallel.num_devices} x {jax.devices()[0].device_kind}"
    examples = f"{len(dataset.splits['train']):,} to train on"
    _say(console, f"[bold]cifar_speedrun[/]  {escape(title)}, {examples}  ({device})")
    if jax.default_backend() == "cpu":
        _say(console, f"[dim]{escape(onednn.status())}[/]")
    for note in dataset.notes:
        _say(console, f"[yellow]note:[/] {escape(note)}")

    shared = make_speedrun(config.training, dataset, parallel, seed=config.seed)
    minutes = warm_up(shared) / 60
    if minutes > 1:
        _say(console, f"a run takes about {minutes:.0f} minutes")
    runs: list[Run] = []
    from_start = math.nan
    for number in range(config.runs):
        runs.append(run_once(shared, number))
        if number == 0:
            from_start = seconds_since_start()
        accuracies = ", ".join(f"{view} {one:.2%}" for view, one in runs[-1].accuracies.items())
        _say(console, f"run {number + 1}: {runs[-1].seconds:.2f} s, {accuracies}")

    summary = run_statistics(runs)
    results = {
        "title": title,
        "device": device,
        "runs": len(runs),
        "seconds_from_process_start": from_start,
        **summary,
    }
    run_directory.write_json(directory / "summary.json", results)
    write_csv(runs, directory / "runs.csv")
    count = f"{len(runs)} run{'s' if len(runs) > 1 else ''}"
    title = f"{title}: {count} of airbench94's recipe"
    figure = accuracies_of_runs(
        {view: [run.accuracies[view] for run in runs] for view in runs[0].accuracies},
        target=TARGET if dataset.name == "cifar10" else None,
        title=title,
    )
    save_figure(figure, directory / "accuracies.png")
    console.print(_table(summary, title))
    _say(console, f"{from_start:.1f} s from the start of the process to the end of the first run")
    place = escape(str(directory))
    _say(console, f"[dim]see {place}: config.json, runs.csv, summary.json, accuracies.png[/]")


def run_statistics(runs: Sequence[Run]) -> dict[str, dict[str, float | None]]:
    """Mean, sample deviation (None for one run), least and largest of seconds and accuracies.

    Accuracies are fractions with the names "accuracy, <view>".
    """
    columns = {"seconds": [run.seconds for run in runs]}
    for view in runs[0].accuracies:
        columns[f"accuracy, {view}"] = [run.accuracies[view] for run in runs]
    return {
        name: {
            "mean": float(np.mean(values)),
            "deviation": float(np.std(values, ddof=1)) if len(values) > 1 else None,
            "least": min(values),
            "largest": max(values),
        }
        for name, values in columns.items()
    }


def write_csv(runs: Sequence[Run], path: Path) -> None:
    """Write one row per run."""
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["run", "seconds", "loss", *runs[0].accuracies])
        for number, run in enumerate(runs, start=1):
            writer.writerow([number, run.seconds, run.loss, *run.accuracies.values()])


def _table(summary: Mapping[str, Mapping[str, float | None]], title: str) -> Table:
    table = Table(title=title, title_justify="left")
    table.add_column("")
    for heading in summary["seconds"]:
        table.add_column(heading, justify="right")
    for name, values in summary.items():
        form = "{:.3f}" if name == "seconds" else "{:.2%}"
        table.add_row(
            name, *("" if value is None else form.format(value) for value in values.values())
        )
    return table


def _say(console: Console, text: str) -> None:
    console.print(text, highlight=False, soft_wrap=True)


if __name__ == "__main__":
    main()
