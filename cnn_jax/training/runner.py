"""A program on its devices: compiled over the splits of a data set."""

from collections.abc import Callable
from functools import cache
from typing import Any

import jax
from jaxtyping import PyTree

from cnn_jax.data import Dataset
from cnn_jax.errors import ConfigError
from cnn_jax.training.feed import EvalFeed, TrainFeed
from cnn_jax.training.parallel import Parallel
from cnn_jax.training.program import (
    Batch,
    Evaluated,
    Metrics,
    Program,
    Sums,
    Variables,
)
from cnn_jax.training.state import TrainState


class Runner:
    """Runs a program on all devices; nothing is compiled before it is called.

    Args:
        program: what is trained.
        dataset: its "train" split is trained on, the others are evaluated.
        parallel: how batches and state are spread over the devices.
        batch_size: examples a step, over all devices.
        eval_batch_size: examples a batch in evaluation.
        seed: decides initialization, order of examples and all other randomness.

    Raises:
        ConfigError: a batch that is larger than the training split.
    """

    def __init__(
        self,
        program: Program,
        dataset: Dataset,
        parallel: Parallel,
        *,
        batch_size: int,
        eval_batch_size: int = 500,
        seed: int = 0,
    ) -> None:
        self.program, self.parallel, self._seed = program, parallel, seed
        self._feed = TrainFeed(
            dataset.splits["train"],
            program.train_step,
            parallel,
            batch_size=batch_size,
            seed=seed,
        )

        def predict(state: TrainState, batch: Batch, carry: PyTree) -> Evaluated:
            return Evaluated({}, program.predict(state, batch))

        @cache
        def feed(split: str) -> EvalFeed:
            return EvalFeed(dataset.splits[split], parallel, batch_size=eval_batch_size)

        self._eval_feed = feed
        self._evaluation = cache(lambda split: feed(split).compile(program.evaluate))
        self._prediction = cache(lambda split: feed(split).compile(predict))

    def init(self, change: Callable[[Variables], Variables] = lambda fresh: fresh) -> TrainState:
        """The state before the first step, on the devices; ``change`` maps fresh variables."""
        state = self.program.init(jax.random.key(self._seed), change)
        self.parallel.check_state(state)
        return self.parallel.place(state)

    def traced(self) -> tuple[Any, TrainState]:
        """The program of a training step before it is compiled, and the shapes of its state.

        Nothing is placed on the devices.

        Raises:
            ConfigError: with ``--parallel pmap``, whose program is not known before it runs.
        """
        if self.parallel.mode == "pmap":
            raise ConfigError(
                "the program of --parallel pmap is not known before it runs; use --parallel jit or "
                "fsdp"
            )
        shapes = jax.eval_shape(
            lambda key: self.program.init(key, lambda fresh: fresh), jax.random.key(self._seed)
        )
        state = self.parallel.abstract(shapes)
        return self._feed.trace(state), state

    def zero_sums(self, state: TrainState) -> Sums:
        """The sums of no steps at all, on the devices."""
        return self.parallel.place(self._feed.zero_sums(state))

    def advance(self, state: TrainState, sums: Sums, n: int) -> tuple[TrainState, Sums]:
        """Make ``n`` steps and add up their sums; ``state`` and ``sums`` are consumed."""
        return self._feed.advance(state, sums, n)

    def evaluate(self, state: TrainState, split: str) -> Metrics:
        """The metrics of a split."""
        program = self.program
        carry = program.init_carry(self._eval_feed(split).batch_size)
        placed = self.parallel.place({"carry": carry})["carry"]
        sums, rows = self._evaluation(split)(state, placed)
        metrics = program.summarize(sums) if sums else {}
        return metrics | (program.measure(rows) if program.measure else {})

    def outputs(self, state: TrainState, split: str) -> PyTree:
        """What the program predicts for every example of a split, in order, on the host."""
        return self._prediction(split)(state, None)[1]
