"""Training steps of char_rnn's network, ours and PyTorch's: characters per second.

Our steps run as in the loop, those of PyTorch as its users write them, with `torch.nn.LSTM`. Both
share parameters, text and order, and carry the state from batch to batch; the losses of the first
steps must agree. Dropout is 0, because it draws other values in each library.
"""

import tempfile
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import jax
import numpy as np
from flax.traverse_util import flatten_dict
from rich.console import Console
from safetensors.numpy import save_file

from cnn_jax.errors import check_range
from cnn_jax.models import LanguageModel
from cnn_jax.models.language import CELLS, Cell
from cnn_jax.training import ControlConfig, Experiment, make_parallel, prepare_run
from experiments import char_rnn
from experiments.tools.bench.comparison import Comparison, check_same_work, rates, timings
from experiments.tools.bench.options import Steps
from experiments.tools.bench.ours import set_up
from experiments.tools.bench.processes import Side, started
from experiments.tools.bench.side import RunSteps
from experiments.tools.bench.torch_lstm import CLIP_NORM, RATE, TEXT, WEIGHTS

FIRST_STEPS, TOLERANCE = 3, 1e-3


@dataclass(frozen=True)
class Options(Steps):
    """char_rnn's network: ours and PyTorch's."""

    cells: tuple[Cell, ...] = ("lstm",)
    """Cells, one comparison each."""
    features: int = 256
    """Size of the state of a layer."""
    layers: int = 2
    """Recurrent layers."""
    window: int = 100
    """Characters of a row of a batch."""

    def __post_init__(self) -> None:
        super().__post_init__()
        check_range(self, 1, features=self.features, layers=self.layers, window=self.window)


def measure(options: Options, console: Console) -> Iterable[Comparison]:
    """One comparison per cell."""
    batch_size = options.batch_size or 32
    for cell in options.cells:
        with tempfile.TemporaryDirectory(prefix="bench_") as directory:
            arguments = {
                "cell": cell,
                "features": options.features,
                "layers": options.layers,
                "window": options.window,
                "batch_size": batch_size,
                "directory": directory,
            }
            package = __name__.rpartition(".")[0]
            sides = [
                Side("cnn_jax", f"{__name__}:training", arguments),
                Side("PyTorch", f"{package}.torch_lstm:training", arguments, needed=False),
            ]
            with started(sides, console) as processes:
                losses = check_same_work(processes, steps=FIRST_STEPS, rtol=TOLERANCE)
                answers = timings(processes, options.steps, options.rounds)
        title = f"training: {options.layers} x {options.features} {cell}, batch {batch_size} of "
        title += f"{options.window} characters"
        values = rates(answers, options.steps * batch_size * options.window)
        details = {"answers": answers}
        yield Comparison(title, "characters/s", values, (losses,), details)


def make_experiment(
    *, cell: Cell, features: int, layers: int, window: int, batch_size: int
) -> Experiment:
    """char_rnn on Python's documentation, with Adam at a constant rate."""
    config = char_rnn.Config()
    built = char_rnn.build(
        replace(
            config,
            cells=(cell,),
            features=features,
            layers=layers,
            dropout=0.0,
            data=replace(config.data, window=window),
            optimizer=replace(
                config.optimizer,
                name="adam",
                learning_rate=RATE,
                schedule="constant",
                warmup="0 steps",
                weight_decay=0,
                clip_norm=CLIP_NORM,
            ),
            training=replace(config.training, batch_size=batch_size),
            control=ControlConfig(),
        )
    )
    assert isinstance(built, Experiment)
    return built


def training(*, directory: str, **arguments: Any) -> RunSteps:
    """Chunks of steps as the loop runs them; writes text and parameters for PyTorch."""
    set_up()
    experiment = make_experiment(**arguments)
    _, runner = prepare_run(experiment, make_parallel("jit"), seed=0)
    state = runner.init()
    split: Any = experiment.dataset.splits["train"]
    np.save(Path(directory, TEXT), split.tokens)
    save_file(_torch_state(experiment.task.model, state.params), Path(directory, WEIGHTS))
    zeros = jax.tree.map(np.asarray, runner.zero_sums(state))

    def run(n: int) -> list[float]:
        nonlocal state
        state, sums = runner.advance(state, runner.parallel.place(zeros), n)
        sums = jax.tree.map(np.asarray, sums)
        return [float(sums["loss"] / sums["weight"])]

    return run


def _torch_state(model: LanguageModel, params: Any) -> dict[str, np.ndarray]:
    """The parameters by the names and in the layouts of PyTorch's model."""
    body = CELLS[model.cell](model.features, layers=model.layers).torch_names()
    paths = {f"body.{name}": path.replace("params", "body") for name, path in body.items()}
    paths |= {"head.weight": "head/kernel", "head.bias": "head/bias"}
    flat = {path: np.asarray(value) for path, value in flatten_dict(params, sep="/").items()}
    state = {name: np.ascontiguousarray(flat[path].T) for name, path in paths.items()}
    return state | {"embedding.weight": flat["embedding"]}
