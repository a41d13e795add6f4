"""Pretraining on a related task: with few labels, a pretrained network learns more.

Lecture: "Pretraining", "Transfer learning". Source: Yosinski et al. 2014, "How transferable are
features in deep neural networks?". There are two stages: first only the new head is trained, then
everything at a smaller rate. A random start is trained for the same number of steps in one stage.

    python -m experiments.finetune --data.name ./folder --data.image-size 224 --model resnet50
    … --checkpoint resnet18.pth                                 a file of your own
    … --init compare                                            compared with a random start
    python -m experiments.finetune --init run --from-run runs/resnet_cifar/1234abcd
    python -m experiments.finetune --init run --from-run runs/autoencoder/1234abcd/code-30
    python -m experiments.finetune --init compare --from-run … --labels 100 1000

Images are normalized with the mean and standard deviation that the body was trained with; a random
start uses those of the new data. For images with another number of channels the body's first kernel
is adapted: summed over the channels for gray images, repeated and scaled for more. The head is
drawn anew, so that a checkpoint may have another one or none. BatchNorm uses the source's
statistics in both stages, unless --norm batch changes the second one. The data set's augmentation
is used: crops and, where they make sense, mirror images.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any, Literal

from cnn_jax.data import DataConfig, Dataset, load_dataset
from cnn_jax.errors import ConfigError, check_range
from cnn_jax.models import create_model
from cnn_jax.pretrained import Network
from cnn_jax.pretrained.preprocessing import IMAGENET_MEAN, IMAGENET_STD
from cnn_jax.training import (
    ControlConfig,
    Experiment,
    OptimizerConfig,
    Result,
    TrainingConfig,
    check_durations,
    compute_dtype,
    make_plan,
    to_steps,
)
from cnn_jax.training.experiment import Variables
from cnn_jax.visual import compared_curves, grouped_bars, learning_curve
from experiments.autoencoder import with_labels
from experiments.tools.classifier import LossConfig, classification
from experiments.tools.figures import classification_figures
from experiments.tools.networks import NetworkConfig, load_any_network
from experiments.tools.run import run
from experiments.tools.sources import (
    from_checkpoint,
    transplanted,
    with_channels,
    with_classes,
    with_norm,
)
from experiments.train import augmentations

NAMES = {"random": "random start", "head": "pretrained, head alone", "all": "pretrained, then all"}


@dataclass(frozen=True)
class Config:
    """A pretrained network on your own data."""

    init: Literal["weights", "run", "random", "compare"] = "weights"
    """weights: those of --model, public or from --checkpoint; run: those of --from-run; random:
    the same network with random parameters; compare: a random start, and --from-run if given, else
    weights."""
    from_run: str = ""
    """Directory of one of your runs, such as runs/resnet_cifar/1234abcd."""
    model: str = "resnet18"
    """Name of a model, used without --from-run."""
    weights: str = "DEFAULT"
    """Public weights of the model; DEFAULT is the best of them."""
    checkpoint: str = ""
    """File of your own instead of public weights: .safetensors, or PyTorch's .pth, .pt, .th, .ckpt,
    .bin or .tar, a state dict or a training script's checkpoint. With --from-run: best, last or a
    step; by default the one that the run's final table is about."""
    averaged: bool = True
    """Of a checkpoint that has both, take the moving average of the weights, not the last ones."""
    prefix: str = ""
    """Take only the checkpoint's names that begin with it, such as encoder_q., without it."""
    mean: tuple[float, ...] = IMAGENET_MEAN
    """Mean of each channel in [0, 1] that the checkpoint was trained with; 0.5 0.5 0.5 for
    torchvision's GoogLeNet and Inception v3, one number for gray images."""
    std: tuple[float, ...] = IMAGENET_STD
    """Standard deviation of each channel that the checkpoint was trained with; 0.5 0.5 0.5 for
    torchvision's GoogLeNet and Inception v3, one number for gray images."""
    norm: Literal["frozen", "batch"] = "frozen"
    """Statistics of BatchNorm in the second stage: the source's, or those of each batch."""
    loss: LossConfig = field(default_factory=LossConfig)
    labels: tuple[int, ...] = ()
    """Numbers of training examples to compare; by default all examples are used."""
    data: DataConfig = field(default_factory=DataConfig)
    head_duration: str = "10 epochs"
    """Length of the first stage, which trains only the head; "0 steps" leaves the stage out."""
    training: TrainingConfig = field(
        # An epoch consists of whole batches; small ones suit small data sets.
        default_factory=lambda: TrainingConfig(
            duration="20 epochs", batch_size=32, save_every="10 epochs"
        )
    )
    control: ControlConfig = field(default_factory=ControlConfig)
    head_optimizer: OptimizerConfig = field(
        default_factory=lambda: OptimizerConfig(
            name="adamw", learning_rate=1e-2, schedule="cosine", weight_decay=0.01
        )
    )
    optimizer: OptimizerConfig = field(
        default_factory=lambda: OptimizerConfig(
            name="adamw", learning_rate=3e-4, schedule="one_cycle", weight_decay=0.01
        )
    )
    random_optimizer: OptimizerConfig = field(
        default_factory=lambda: OptimizerConfig(
            name="adamw", learning_rate=3e-3, schedule="one_cycle", weight_decay=0.01
        )
    )

    def __post_init__(self) -> None:
        check_range(self, 0, 1, mean=self.mean)
        check_range(self, 0, 1, above=True, std=self.std)
        check_range(self, 1, labels=self.labels)
        check_durations(self, head_duration=self.head_duration)


SMOKE = replace(
    Config(),
    init="random",
    model="lenet5",
    data=DataConfig(name="digits", image_size=28),
    head_duration="4 steps",
    training=TrainingConfig(duration="8 steps", batch_size=64),
)


def build(config: Config) -> dict[str, Experiment]:
    """A random start, the head alone, or everything, as chosen, for each number of labels."""
    if config.init == "run" and not config.from_run:
        raise ConfigError("--init run needs the run's directory: --from-run runs/…")
    if config.init == "weights" and config.from_run:
        raise ConfigError("--from-run needs --init run, compare or random, got weights")
    augment = partial(augmentations, "crop")
    dataset = load_dataset(config.data, default="fashion_mnist", augment=augment)
    # A named network with random parameters needs no weights.
    named = config.init == "random" and not config.from_run
    source = None if named else _source(config, dataset)
    if source is not None:
        source, notes = with_channels(source, dataset.image_shape[-1])
        dataset = replace(dataset, notes=(*dataset.notes, *notes))
    model: Any = (
        create_model(config.model, num_classes=dataset.num_classes)
        if source is None
        else source.model
    )
    if hasattr(model, "dtype"):
        model = model.clone(dtype=compute_dtype(config.training.precision))
    study: dict[str, Experiment] = {}
    for number in config.labels or (0,):
        prefix = f"labels-{number}-" if number else ""
        part = with_labels(dataset, number) if number else dataset
        if config.init in ("random", "compare"):
            study[f"{prefix}random"] = _random(config, model, part)
        if source is not None and config.init != "random":
            study |= _stages(config, source, model, part, prefix)
    return study


def _source(config: Config, dataset: Dataset) -> Network:
    network = NetworkConfig(
        model=config.model,
        weights=config.weights,
        checkpoint=config.checkpoint,
        averaged=config.averaged,
        prefix=config.prefix,
        mean=config.mean,
        std=config.std,
    )
    if config.from_run:
        found = load_any_network(NetworkConfig(run=config.from_run, checkpoint=config.checkpoint))
    elif config.checkpoint:
        found = from_checkpoint(network, dataset.image_shape)
    else:
        found = load_any_network(network)
    return with_classes(found, dataset.num_classes)


def _random(config: Config, model: Any, dataset: Dataset) -> Experiment:
    """Train everything from a random start, for as many steps as both stages have."""
    size = config.training.batch_size
    steps = partial(to_steps, batch_size=size, steps_per_epoch=len(dataset.splits["train"]) // size)
    total = steps(config.head_duration) + steps(config.training.duration)
    # A random start has no measured statistics to keep.
    return Experiment(
        dataset=dataset,
        task=classification(with_norm(model, "batch"), config.loss, dataset),
        optimizer=config.random_optimizer,
        training=replace(config.training, duration=f"{total} steps"),
        control=config.control,
        figures=_figures(),
    )


def _stages(
    config: Config, source: Network, model: Any, dataset: Dataset, prefix: str
) -> dict[str, Experiment]:
    """Train the head alone on the source's body, if at all, then everything."""
    scale = source.preprocessing
    dataset = replace(dataset, mean=scale.mean, std=scale.std)

    def from_source(fresh: Variables, earlier: Mapping[str, Result]) -> Variables:
        return transplanted(source, fresh, dataset.image_shape)

    def from_head(fresh: Variables, earlier: Mapping[str, Result]) -> Variables:
        return dict(earlier[f"{prefix}head"].variables)

    head = Experiment(
        dataset=dataset,
        task=classification(with_norm(model, "frozen"), config.loss, dataset),
        optimizer=config.head_optimizer,
        training=replace(config.training, duration=config.head_duration),
        control=config.control,
        initialize=from_source,
        trainable=in_head,
        figures=_figures(),
    )
    everything = replace(
        head,
        task=classification(with_norm(model, config.norm), config.loss, dataset),
        optimizer=config.optimizer,
        training=config.training,
        initialize=from_head,
        trainable=None,
    )
    if make_plan(head).total == 0:
        return {f"{prefix}all": replace(everything, initialize=from_source)}
    return {f"{prefix}head": head, f"{prefix}all": everything}


def in_head(path: str) -> bool:
    """Whether a parameter belongs to the head."""
    return path.startswith("head/")


def _figures() -> dict[str, Any]:
    figures = classification_figures()
    return {name: figures[name] for name in ("curves", "confusion", "mistakes")}


def compare(results: Mapping[str, Result]) -> dict[str, Any]:
    """The curves of both stages and of a random start, and their final accuracies."""
    if len(results) < 2:
        return {}
    groups: dict[str, dict[str, Result]] = {}
    for name, result in results.items():
        prefix, _, stage = name.rpartition("-")
        groups.setdefault(prefix, {})[stage] = result
    figures = {
        "-".join(filter(None, ("stages", prefix))): _curves(group)
        for prefix, group in groups.items()
    }
    return figures | {"accuracy": _accuracies(list(groups.values()))}


def _curves(group: Mapping[str, Result]) -> Any:
    runs: dict[str, Any] = {}
    title = next(iter(group.values())).experiment.dataset.title
    examples = len(next(iter(group.values())).experiment.dataset.splits["train"])
    title += f", {examples:,} training images"
    if "random" in group:
        runs["random start"] = group["random"].rows
    if "head" in group:
        first = group["head"].summary["step"]
        later = [row | {"step": row["step"] + first} for row in group["all"].rows]
        runs["pretrained"] = [*group["head"].rows, *later]
        title += f"; pretrained: head alone for {first:,} steps, then all"
    elif "all" in group:
        runs["pretrained"] = group["all"].rows
    return compared_curves(runs, ["loss", "accuracy"], title=title)


def _accuracies(groups: list[dict[str, Result]]) -> Any:
    first = next(iter(groups[0].values()))
    split = first.held_out
    ends = {
        NAMES[stage]: [group[stage].summary[split]["accuracy"] for group in groups]
        for stage in NAMES
        if stage in groups[0]
    }
    title = f"{first.experiment.dataset.title}, {split}"
    if len(groups) > 1:
        counts = [
            len(next(iter(group.values())).experiment.dataset.splits["train"]) for group in groups
        ]
        return learning_curve(counts, ends, xlabel="training images", title=title)
    bars = {name: 100 * values[0] for name, values in ends.items()}
    return grouped_bars({"": bars}, ylabel="accuracy (%)", title=title)


if __name__ == "__main__":
    run(Config, build, smoke=SMOKE, compare=compare)
