"""A network says in words what is in an image: a CNN's features begin a recurrent network.

Lecture: the bridge between its halves. Source: Vinyals et al. 2015 ("Show and Tell: a neural image
caption generator"), Karpathy and Fei-Fei 2015. The image is the first input of an LSTM, which then
gives the caption word by word. The captions of the embedded scenes are exact, so that one sees
which words are right: shapes, colours, sizes, relations. A network from which the image is withheld
is a language model alone: it writes captions too, of any scene.

    python -m experiments.image_captioning                     scenes of one or two shapes
    python -m experiments.image_captioning --image both        what the image adds
    python -m experiments.image_captioning --beam 5 --cell gru

`python -m experiments.caption --run runs/image_captioning/… photos/` describes other images.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Literal

import numpy as np

from cnn_jax import pretrained
from cnn_jax.data.captions import CaptionsConfig, join_words, load_captions
from cnn_jax.data.scene_captions import KINDS
from cnn_jax.errors import check_range
from cnn_jax.models import Captioner
from cnn_jax.models.language import Cell
from cnn_jax.tasks import Captioning
from cnn_jax.tasks.caption_metrics import align
from cnn_jax.tasks.captioning import references_of, words_of
from cnn_jax.training import (
    ControlConfig,
    Experiment,
    OptimizerConfig,
    Result,
    TrainingConfig,
    Variables,
    compute_dtype,
)
from cnn_jax.visual import (
    CaptionedImage,
    caption_grid,
    grouped_bars,
    loss_curves,
    training_curves,
)
from experiments.tools.public_encoder import with_encoder
from experiments.tools.run import run

SHOWN = 12
"""Number of images that are drawn with their captions."""


@dataclass(frozen=True)
class Config:
    """A CNN and a recurrent network that write captions."""

    image: Literal["seen", "withheld", "both"] = "seen"
    """Train a network that sees the image, one from which it is withheld, or both."""
    encoder: str = "cifar_resnet20"
    """Any classifier with feature maps, from whose last map the vector of the image is computed."""
    weights: str = ""
    """Public weights that the encoder begins with, such as IMAGENET1K_V1; default: the usual ones;
    by default none."""
    places: int = 1
    """Rows and columns that this map is pooled to; 1: its mean, as in the paper, with which what is
    in the image is learned wherever it is."""
    cell: Cell = "lstm"
    """Recurrent network that writes: lstm, gru, and rnn, which is the tanh network."""
    features: int = 256
    """Size of the state of a recurrent layer."""
    layers: int = 1
    """Recurrent layers."""
    embedding: int = 128
    """Size of the vector of a word, and of the image."""
    remember: float = 2.0
    """Added to the initial bias of the gate that keeps the state, of lstm and gru, so that from the
    start the last word can depend on the image."""
    dropout: float = 0.0
    """Dropout rate of the vectors, between the layers, and of the outputs."""
    beam: int = 1
    """Sentences that the search for the likeliest caption keeps; 1: always the likeliest word."""
    length_power: float = 0.0
    """Compare the search's sentences by their log probability divided by this power of their
    length; 1: by the mean of their words."""
    data: CaptionsConfig = field(default_factory=CaptionsConfig)
    optimizer: OptimizerConfig = field(
        default_factory=lambda: OptimizerConfig(
            name="adamw",
            learning_rate=3e-3,
            schedule="cosine",
            warmup="100 steps",
            weight_decay=0.01,
            clip_norm=1.0,
        )
    )
    training: TrainingConfig = field(
        default_factory=lambda: TrainingConfig(duration="16 epochs", batch_size=32)
    )
    control: ControlConfig = field(default_factory=ControlConfig)

    def __post_init__(self) -> None:
        check_range(self, 1, places=self.places, features=self.features, layers=self.layers)
        check_range(self, 1, embedding=self.embedding, beam=self.beam)
        check_range(self, 0, 1, dropout=self.dropout)
        check_range(self, 0, 10, length_power=self.length_power, remember=self.remember)


SMOKE = replace(
    Config(),
    encoder="simple_cnn",
    features=16,
    embedding=8,
    data=CaptionsConfig(
        image_size=16,
        train="train[:96]",
        validation="validation[:16]",
        test="test[:16]",
    ),
    optimizer=replace(Config().optimizer, warmup="4 steps"),
    training=TrainingConfig(duration="12 steps", batch_size=16, evaluate_every="6 steps"),
)


def build(config: Config) -> Experiment | dict[str, Experiment]:
    """A network that sees the image, one that does not, or both, on the same data."""
    dataset = load_captions(config.data)
    experiments: dict[str, Experiment] = {}
    for name, encoder in (("seen", config.encoder), ("withheld", None)):
        if config.image not in ("both", name):
            continue
        model = Captioner(
            dataset.num_classes,
            encoder=encoder,
            cell=config.cell,
            features=config.features,
            layers=config.layers,
            embedding=config.embedding,
            places=config.places,
            dropout=config.dropout,
            dtype=compute_dtype(config.training.precision),
        )
        task = Captioning(
            model,
            words=dataset.class_names,
            length=dataset.spec["tokens"].shape[1] - 2,
            beam=config.beam,
            length_power=config.length_power,
            kinds=KINDS if config.data.name == "shapes" else (),
        )
        experiments[name] = Experiment(
            dataset=dataset,
            task=task,
            optimizer=config.optimizer,
            training=config.training,
            control=config.control,
            initialize=beginning(config, encoder),
            figures=figures(),
        )
    return experiments if config.image == "both" else experiments[config.image]


def beginning(
    config: Config, encoder: str | None
) -> Callable[[Variables, Mapping[str, Result]], Variables]:
    """What changes fresh variables: a recurrent network that remembers, public weights.

    A gate that is half open forgets the image within a few words, and gradients vanish as fast
    (Jozefowicz et al. 2015, "An Empirical Exploration of Recurrent Network Architectures", who add
    1 to the bias of an LSTM's forget gate).
    """
    source: Variables = {}
    if encoder and config.weights:
        weights = "" if config.weights == "default" else config.weights
        source = pretrained.load(encoder, weights).variables

    def initialize(fresh: Variables, earlier: Mapping[str, Result]) -> Variables:
        # The second gate is an LSTM's forget gate and a GRU's update gate; both keep the state.
        gate = slice(config.features, 2 * config.features)
        body = fresh["params"]["language"]["body"]
        if config.cell != "rnn":
            body = {
                name: layer | {"input_bias": layer["input_bias"].at[gate].add(config.remember)}
                for name, layer in body.items()
            }
        language = fresh["params"]["language"] | {"body": body}
        return with_encoder(fresh | {"params": fresh["params"] | {"language": language}}, source)

    return initialize


def figures() -> dict[str, Callable[[Result], Any]]:
    """Curves, and images with captions, by file name."""
    return {
        "curves": lambda result: training_curves(
            result.rows, title=f"{result.experiment.dataset.title}, training"
        ),
        "captions": _captions,
    }


def compare(results: Mapping[str, Result]) -> dict[str, Any]:
    """The losses of both networks, and which of their words are right."""
    first = next(iter(results.values()))
    title, split = first.experiment.dataset.title, first.held_out
    runs = {_named(result): result for result in results.values()}
    shown = [name for name in first.metrics if name == "exact" or name.startswith("right/")]
    shares = {
        name.removeprefix("right/"): {
            run: 100 * result.summary[split][name] for run, result in runs.items()
        }
        for name in shown
    }
    return {
        "losses": loss_curves(
            {run: result.rows for run, result in runs.items()},
            ylabel="validation loss (nats a word)",
            title=title,
        ),
        "right_words": grouped_bars(
            shares, ylabel="captions or words that are right (%)", title=f"{title}, {split}"
        ),
    }


def _named(result: Result) -> str:
    return f"image {'seen' if result.experiment.task.model.encoder else 'withheld'}"


def _captions(result: Result) -> Any:
    """The first held-out images, each with its caption and the reference that is most like it."""
    dataset, split = result.experiment.dataset, result.held_out
    names, written = dataset.class_names, result.outputs(split)["tokens"]
    images = []
    for index in range(min(SHOWN, len(written))):
        example = dataset.splits[split][index]
        caption = words_of(written[index])
        references = references_of(np.asarray(example["tokens"]))
        aligned = align(caption, references)
        images.append(
            CaptionedImage(
                np.asarray(example["image"]),
                [names[word] for word in caption],
                aligned.right,
                join_words(references[aligned.reference], names),
            )
        )
    title = f"{dataset.title}, {split}: captions, wrong words in orange, references in gray"
    return caption_grid(images, title=title)


if __name__ == "__main__":
    run(Config, build, smoke=SMOKE, compare=compare)
