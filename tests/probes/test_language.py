"""A language model over contiguous windows, with a carried state."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from cnn_jax.data import Dataset, WindowSplit
from cnn_jax.errors import ConfigError
from cnn_jax.training import Experiment, OptimizerConfig, TrainingConfig, make_parallel
from tests.probes.checks import check_devices, check_resume, run

CHARACTERS, HIDDEN, LENGTH, ROWS = 5, 8, 6, 8


def text(seed: int, windows: int) -> WindowSplit:
    """Every character is mostly the sum of the two before it."""
    rng = np.random.default_rng(seed)
    tokens = [0, 1]
    for noise in rng.integers(0, 10, windows * LENGTH - 1):
        tokens.append((tokens[-1] + tokens[-2] + (noise == 0)) % CHARACTERS)
    # Windows overlap by one token: the last one's target is the next one's first input.
    return WindowSplit(np.array(tokens, np.int32), length=LENGTH + 1, stride=LENGTH)


@dataclass(frozen=True)
class Language:
    """The next character's cross entropy under a vanilla recurrent network."""

    metrics = ("cross_entropy",)
    best_metric, higher_is_better = "cross_entropy", False

    def init(self, key: Any, spec: Any) -> Any:
        shapes = {"inputs": (CHARACTERS, HIDDEN), "hidden": (HIDDEN, HIDDEN)}
        shapes["outputs"] = (HIDDEN, CHARACTERS)
        keys = jax.random.split(key, 3)
        normal = zip(keys, shapes.items(), strict=True)
        return {n: 0.5 * jax.random.normal(k, shape) for k, (n, shape) in normal}, {}

    def init_carry(self, batch_size: int) -> Any:
        return jnp.zeros((batch_size, HIDDEN))

    def loss_fn(self, params: Any, model_state: Any, batch: Any, key: Any, train: bool) -> Any:
        tokens, weight = batch["tokens"], batch["weight"]
        carry, logits = unroll(params, model_state["carry"], tokens[:, :-1])
        losses = optax.softmax_cross_entropy_with_integer_labels(logits, tokens[:, 1:])
        sums = {"weight": LENGTH * jnp.sum(weight)}
        return jnp.sum(losses * weight[:, None]), (model_state | {"carry": carry}, sums)

    def predict(self, params: Any, model_state: Any, batch: Any) -> Any:
        carry = self.init_carry(len(batch["tokens"]))
        return unroll(params, carry, batch["tokens"][:, :-1])[1]

    def summarize(self, sums: Any) -> dict[str, float]:
        return {"cross_entropy": float(sums["loss"]) / float(sums["weight"])}


def unroll(params: Any, carry: Any, tokens: Any) -> tuple[Any, Any]:
    """The state after all tokens, and logits [batch, time, characters]."""
    logits = []
    for time in range(tokens.shape[1]):
        inputs = params["inputs"][tokens[:, time]]
        carry = jnp.tanh(inputs + carry @ params["hidden"])
        logits.append(carry @ params["outputs"])
    return carry, jnp.stack(logits, axis=1)


EXPERIMENT = Experiment(
    dataset=Dataset("sums", "sums", {"train": text(0, 4 * ROWS), "validation": text(1, 21)}, ()),
    task=Language(),
    optimizer=OptimizerConfig(name="adam", learning_rate=0.03),
    training=TrainingConfig(
        duration="10 steps", batch_size=ROWS, eval_batch_size=ROWS, log_every="4 steps"
    ),
)


def test_resumed_with_its_carry(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    result = check_resume(EXPERIMENT, tmp_path, monkeypatch, stop=6)
    assert result.rows[-1]["cross_entropy"] < result.rows[0]["cross_entropy"]


def test_windows_in_turn_are_one_long_pass(tmp_path: Path) -> None:
    still = replace(EXPERIMENT, optimizer=OptimizerConfig(learning_rate=0.0))
    result = run(still, tmp_path)
    params, tokens = result.variables["params"], still.dataset.splits["train"].tokens
    # Every row of the batch walks through its own part of the text.
    rows = tokens[:-1].reshape(ROWS, -1)
    targets = tokens[1:].reshape(ROWS, -1)
    _, logits = unroll(params, jnp.zeros((ROWS, HIDDEN)), rows)
    long = optax.softmax_cross_entropy_with_integer_labels(logits, targets).mean()
    epoch = next(row for row in result.rows if row["split"] == "train" and row["step"] == 4)
    assert epoch["cross_entropy"] == pytest.approx(float(long), rel=1e-5)


def test_devices_agree_and_pmap_is_refused(tmp_path: Path) -> None:
    check_devices(EXPERIMENT, tmp_path, modes=("jit",))
    with pytest.raises(ConfigError, match="pmap replicates the whole state, and carried state"):
        run(EXPERIMENT, tmp_path / "pmap", make_parallel("pmap"))
    cut = replace(EXPERIMENT, training=replace(EXPERIMENT.training, accumulate=2, batch_size=16))
    with pytest.raises(ConfigError, match="accumulate 2 .* Language carries state"):
        run(cut, tmp_path / "accumulate")
