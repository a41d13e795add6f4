"""Language modelling: the next token of a text."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Key, PyTree

from cnn_jax.errors import ConfigError
from cnn_jax.tasks.apply import Spec
from cnn_jax.tasks.losses import softmax_cross_entropy
from cnn_jax.tasks.metrics import mean

LARGEST_EXPONENT = 700.0
"""Of a perplexity that float64 holds."""


def perplexity(loss: float) -> float:
    """The exponential of a mean loss in nats, cut off where float64 ends."""
    return float(np.exp(min(loss, LARGEST_EXPONENT)))


@dataclass(frozen=True)
class LanguageModelling:
    """Train a model to give the next token of ``batch["tokens"]`` [batch, time + 1] a high
    probability.

    The state goes on from batch to batch, and gradients go back through the tokens of one example
    (truncated backpropagation through time). The loss is the mean cross entropy of all tokens, in
    nats; targets of -1 do not count. In an evaluation with b rows a batch, each row begins a b-th
    part of the text with an empty state.

    Attributes:
        model: linen module, ``model.apply(variables, tokens, state, train=…) -> (logits, state)``,
            with the attribute ``vocabulary``, such as `models.LanguageModel`.
    """

    model: nn.Module

    metrics: ClassVar[tuple[str, ...]] = ("loss", "perplexity", "bits_per_token")
    best_metric: ClassVar[str] = "loss"
    higher_is_better: ClassVar[bool] = False

    def check(self, dataset: Any) -> None:
        """Raise ConfigError if the data set has no tokens, or more than the model."""
        if "tokens" not in dataset.spec:
            raise ConfigError(
                f"a language model needs a text: {dataset.title} has {', '.join(dataset.spec)}"
            )
        if self.model.vocabulary < len(dataset.class_names):
            raise ConfigError(
                f"the model has a vocabulary of {self.model.vocabulary:,} tokens, and "
                f"{dataset.title} one of {len(dataset.class_names):,}"
            )

    def init(self, key: Key[Array, ""], spec: Spec) -> tuple[PyTree, PyTree]:
        """Fresh ``(params, model_state)`` for examples of a spec."""
        variables = jax.jit(self.model.init)(key, jnp.zeros((1, 1), jnp.int32))
        return variables["params"], {}

    def init_carry(self, batch_size: int) -> PyTree:
        """The state before a text: zeros."""

        def state(key: Array) -> Any:
            tokens = jnp.zeros((batch_size, 1), jnp.int32)
            return self.model.init_with_output(key, tokens)[0][1]

        shapes = jax.eval_shape(state, jax.random.key(0))
        return jax.tree.map(lambda of: jnp.zeros(of.shape, of.dtype), shapes)

    def loss_fn(
        self,
        params: PyTree,
        model_state: PyTree,
        batch: Mapping[str, Array],
        key: Key[Array, ""],
        train: bool,
    ) -> tuple[Array, tuple[PyTree, dict[str, Array]]]:
        """Weighted sum of the loss, the new state, and sums for the metrics."""
        tokens = batch["tokens"]
        inputs, targets = jnp.maximum(tokens[:, :-1], 0), tokens[:, 1:]
        logits, carry = self.model.apply(
            {"params": params},
            inputs,
            model_state["carry"],
            train=train,
            rngs={"dropout": key} if train else {},
        )
        counted = (targets >= 0) * batch["weight"][:, None]
        losses = softmax_cross_entropy(logits, jnp.maximum(targets, 0))
        sums = {"weight": jnp.sum(counted)}
        return jnp.sum(losses * counted), (dict(model_state) | {"carry": carry}, sums)

    def predict(
        self, params: PyTree, model_state: PyTree, batch: Mapping[str, Array]
    ) -> Float[Array, "batch time vocabulary"]:
        """Logits of a batch, each example with an empty state before it."""
        inputs = jnp.maximum(batch["tokens"][:, :-1], 0)
        return self.model.apply({"params": params}, inputs, train=False)[0]

    @staticmethod
    def summarize(sums: Mapping[str, Any]) -> dict[str, float]:
        """Mean loss in nats, its exponential, and the loss in bits."""
        loss = mean(sums["loss"], sums["weight"])
        return {
            "loss": loss,
            "perplexity": perplexity(loss),
            "bits_per_token": loss / math.log(2),
        }
