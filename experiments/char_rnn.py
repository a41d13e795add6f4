"""Character-level language models: a recurrent network learns to write as its text does.

Lecture: "Recurrent networks", "LSTM". Source: Karpathy 2015 ("The unreasonable effectiveness of
recurrent neural networks"), Zaremba et al. 2014. With several cells, a figure shows how far back
the gradient of a prediction reaches in each: the reason for the LSTM's cell.

    python -m experiments.char_rnn                                    Python's documentation
    python -m experiments.char_rnn --data.name shakespeare.txt
    python -m experiments.char_rnn --cells lstm gru rnn               which cell
    python -m experiments.char_rnn --data.unit word --data.least-count 3 --tied

`python -m experiments.generate --run runs/char_rnn/…` writes on.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from cnn_jax.data.text import TextConfig, join_text, load_text
from cnn_jax.errors import ConfigError, check_range
from cnn_jax.models import LanguageModel
from cnn_jax.models.language import Cell
from cnn_jax.models.sampling import sample
from cnn_jax.tasks import LanguageModelling
from cnn_jax.training import (
    ControlConfig,
    Experiment,
    OptimizerConfig,
    Result,
    TrainingConfig,
    compute_dtype,
)
from cnn_jax.visual import gradients_through_time, loss_curves, text_sheet, training_curves
from experiments.tools.run import run

SAMPLED = 600
"""Tokens of the sample text."""
EXAMPLES = 32
"""Windows over which the gradients through time are averaged, at most."""


@dataclass(frozen=True)
class Config:
    """Language models of one or several cells."""

    cells: tuple[Cell, ...] = ("lstm",)
    """Cells, a network for each: lstm, gru, and rnn, which is the tanh network."""
    features: int = 256
    """Size of the state of a layer."""
    layers: int = 2
    """Recurrent layers."""
    embedding: int = 64
    """Size of a token's vector; 0: that of the state."""
    tied: bool = False
    """Take the tokens' vectors as the weights of the output layer too."""
    dropout: float = 0.2
    """Dropout rate of the vectors, between the layers, and of the outputs."""
    temperature: float = 0.8
    """Of the sample text; lower is likelier."""
    data: TextConfig = field(default_factory=TextConfig)
    optimizer: OptimizerConfig = field(
        default_factory=lambda: OptimizerConfig(
            name="adamw",
            learning_rate=2e-3,
            schedule="cosine",
            warmup="100 steps",
            weight_decay=0.01,
            clip_norm=1.0,
        )
    )
    training: TrainingConfig = field(
        default_factory=lambda: TrainingConfig(
            duration="6 epochs", batch_size=32, eval_batch_size=32
        )
    )
    control: ControlConfig = field(default_factory=ControlConfig)

    def __post_init__(self) -> None:
        check_range(self, 1, features=self.features, layers=self.layers)
        check_range(self, 0, embedding=self.embedding)
        check_range(self, 0, 1, dropout=self.dropout)
        check_range(self, 0, 100, temperature=self.temperature)
        if not self.cells or len(set(self.cells)) != len(self.cells):
            raise ConfigError(f"--cells needs one or several different cells, got {self.cells}")


SMOKE = replace(
    Config(),
    features=32,
    layers=1,
    embedding=16,
    data=TextConfig(window=20),
    optimizer=replace(Config().optimizer, warmup="4 steps"),
    training=TrainingConfig(duration="12 steps", batch_size=16, evaluate_every="6 steps"),
)


def build(config: Config) -> Experiment | dict[str, Experiment]:
    """A language model, or one for each cell."""
    dataset = load_text(config.data)
    experiments: dict[str, Experiment] = {
        cell: Experiment(
            dataset=dataset,
            task=LanguageModelling(
                LanguageModel(
                    len(dataset.class_names),
                    cell=cell,
                    features=config.features,
                    layers=config.layers,
                    embedding=config.embedding,
                    tied=config.tied,
                    dropout=config.dropout,
                    dtype=compute_dtype(config.training.precision),
                )
            ),
            optimizer=config.optimizer,
            training=config.training,
            control=config.control,
            figures=figures(config),
        )
        for cell in config.cells
    }
    return experiments if len(experiments) > 1 else next(iter(experiments.values()))


def figures(config: Config) -> dict[str, Callable[[Result], Any]]:
    """Curves, a sample text, and the gradient through time, by file name."""
    return {
        "curves": lambda result: training_curves(
            result.rows, title=f"{result.experiment.dataset.title}, training"
        ),
        "sample": partial(_sample, config),
        "gradients_through_time": lambda result: _gradients({"": result}),
    }


def compare(results: Mapping[str, Result]) -> dict[str, Any]:
    """Figures of several cells."""
    title = next(iter(results.values())).experiment.dataset.title
    return {
        "losses": loss_curves(
            {cell: result.rows for cell, result in results.items()},
            ylabel="validation loss (nats a token)",
            title=title,
        ),
        "gradients_through_time": _gradients(results),
    }


def through_time(result: Result) -> np.ndarray:
    """The norm of the gradient of a last prediction's loss by the vector of each token before it,
    the last token first; the mean over examples.
    """
    model, variables = result.experiment.task.model, result.variables
    split = result.experiment.dataset.splits[result.held_out]
    number = min(EXAMPLES, len(split))
    places = np.linspace(0, len(split) - 1, number).astype(int)
    windows = np.stack([split[int(place)]["tokens"] for place in places])
    tokens = jnp.asarray(windows[(windows >= 0).all(axis=1)])

    @jax.jit
    def norms(variables: Any, tokens: Any) -> Any:
        vectors = model.apply(variables, tokens[:, :-1], method=model.embed)

        def loss(vectors: Any) -> Any:
            logits, _ = model.apply(variables, vectors, method=model.from_vectors)
            scores = jax.nn.log_softmax(logits[:, -1].astype(jnp.float32))
            return -jnp.sum(jnp.take_along_axis(scores, tokens[:, -1:], axis=1))

        return jnp.linalg.norm(jax.grad(loss)(vectors).astype(jnp.float32), axis=-1).mean(axis=0)

    return np.asarray(norms(variables, tokens))[::-1]


def _gradients(results: Mapping[str, Result]) -> Any:
    title = next(iter(results.values())).experiment.dataset.title
    return gradients_through_time(
        {cell: through_time(result) for cell, result in results.items()}, title=title
    )


def _sample(config: Config, result: Result) -> Any:
    """A text that begins as the held-out text does."""
    dataset = result.experiment.dataset
    names, unit = dataset.class_names, config.data.unit
    start = np.asarray(dataset.splits[result.held_out][0]["tokens"])[: config.data.window]
    key = jax.random.key(0)
    tokens = sample(
        result.experiment.task.model,
        result.variables,
        jnp.asarray(start)[None],
        key,
        length=SAMPLED,
        temperature=config.temperature,
    )
    both = start, np.asarray(tokens[0])
    prompt, text = (join_text([names[token] for token in part], unit) for part in both)
    title = f"{dataset.title}: what the network writes, temperature {config.temperature:g}"
    return text_sheet(prompt, text, title=title)


if __name__ == "__main__":
    run(Config, build, smoke=SMOKE, compare=compare)
