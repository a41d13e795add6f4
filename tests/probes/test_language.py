"""A language model over contiguous windows, with a carried state."""

from dataclasses import dataclass, replace
from typing import Any

import jax
import jax.numpy as jnp
import optax
import pytest

from cnn_jax.errors import ConfigError
from cnn_jax.training import Experiment, OptimizerConfig, TrainingConfig, make_parallel
from tests.probes.checks import check_devices, check_resume, run
from tests.probes.generated import CHARACTERS, LENGTH, dataset, text

HIDDEN, ROWS = 8, 8
SHAPES = {"inputs": (CHARACTERS, HIDDEN), "hidden": (HIDDEN, HIDDEN), "out": (HIDDEN, CHARACTERS)}
cross_entropy = optax.softmax_cross_entropy_with_integer_labels


@dataclass(frozen=True)
class Language:
    """The next character's cross entropy under a vanilla recurrent network."""

    metrics = ("cross_entropy",)
    best_metric, higher_is_better = "cross_entropy", False

    def init(self, key: Any, spec: Any) -> Any:
        return {name: 0.5 * jax.random.normal(key, shape) for name, shape in SHAPES.items()}, {}

    def init_carry(self, batch_size: int) -> Any:
        return jnp.zeros((batch_size, HIDDEN))

    def loss_fn(self, params: Any, model_state: Any, batch: Any, key: Any, train: bool) -> Any:
        tokens, weight = batch["tokens"], batch["weight"]
        carry, logits = unroll(params, model_state["carry"], tokens[:, :-1])
        loss = jnp.sum(cross_entropy(logits, tokens[:, 1:]) * weight[:, None])
        return loss, (model_state | {"carry": carry}, {"weight": LENGTH * jnp.sum(weight)})

    def predict(self, params: Any, model_state: Any, batch: Any) -> Any:
        return unroll(params, self.init_carry(len(batch["tokens"])), batch["tokens"][:, :-1])[1]

    def summarize(self, sums: Any) -> dict[str, float]:
        return {"cross_entropy": float(sums["loss"]) / float(sums["weight"])}


def unroll(params: Any, carry: Any, tokens: Any) -> tuple[Any, Any]:
    """The state after all tokens, and logits [batch, time, characters]."""
    logits = []
    for time in range(tokens.shape[1]):
        carry = jnp.tanh(params["inputs"][tokens[:, time]] + carry @ params["hidden"])
        logits.append(carry @ params["out"])
    return carry, jnp.stack(logits, axis=1)


TRAINING = TrainingConfig(duration="10 steps", batch_size=ROWS, eval_batch_size=ROWS)
EXPERIMENT = Experiment(
    dataset=dataset({"train": text(0, 4 * ROWS), "validation": text(1, 21)}),
    task=Language(),
    optimizer=OptimizerConfig(name="adam", learning_rate=0.03),
    training=replace(TRAINING, log_every="4 steps"),
)


def test_resumed_with_its_carry(tmp_path, monkeypatch):
    result = check_resume(EXPERIMENT, tmp_path, monkeypatch, stop=6)
    assert result.rows[-1]["cross_entropy"] < result.rows[0]["cross_entropy"]


def test_windows_in_turn_are_one_long_pass(tmp_path):
    result = run(replace(EXPERIMENT, optimizer=OptimizerConfig(learning_rate=0.0)), tmp_path)
    tokens = EXPERIMENT.dataset.splits["train"].tokens
    # Every row of the batch walks through its own part of the text.
    rows, targets = tokens[:-1].reshape(ROWS, -1), tokens[1:].reshape(ROWS, -1)
    _, logits = unroll(result.variables["params"], jnp.zeros((ROWS, HIDDEN)), rows)
    epoch = next(row for row in result.rows if row["split"] == "train" and row["step"] == 4)
    assert epoch["loss"] == pytest.approx(float(cross_entropy(logits, targets).mean()), rel=1e-5)


def test_devices_agree_and_what_cannot_be_combined_is_refused(tmp_path):
    check_devices(EXPERIMENT, tmp_path, modes=("jit",))
    with pytest.raises(ConfigError, match="pmap replicates the whole state, and carried state"):
        run(EXPERIMENT, tmp_path / "pmap", make_parallel("pmap"))
    cut = replace(EXPERIMENT, training=replace(TRAINING, accumulate=2))
    with pytest.raises(ConfigError, match="accumulate 2 .* Language carries state"):
        run(cut, tmp_path / "accumulate")
    shuffled = replace(text(0, 32), contiguous=False)
    mixed = replace(EXPERIMENT, dataset=dataset({"train": shuffled, "validation": text(1, 21)}))
    with pytest.raises(ConfigError, match="but the examples of train do not continue"):
        run(mixed, tmp_path / "shuffled")
