"""Captioning: sentences about images, one word after another."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Key, PyTree

from cnn_jax.errors import ConfigError
from cnn_jax.layers import beam_search
from cnn_jax.tasks.apply import Spec, apply_model, init_variables
from cnn_jax.tasks.caption_metrics import bleu, right_words
from cnn_jax.tasks.language_modelling import perplexity
from cnn_jax.tasks.losses import softmax_cross_entropy
from cnn_jax.tasks.metrics import mean, weighted_sums

BEGIN, END = 0, 1
"""The tokens before and after each caption."""
BLEU = ("bleu1", "bleu2", "bleu3", "bleu4")


@dataclass(frozen=True)
class Captioning:
    """Train a model to give the captions of images a high probability.

    ``batch["tokens"]`` [batch, captions, time] holds the captions of each image: the token 0, the
    words, the token 1, and -1 up to one length; all of a row where an image has fewer captions. The
    loss is the mean cross entropy of all words and ends, in nats.

    `bleu1` to `bleu4` compare what the model writes with all captions of an image, see `bleu`.
    `exact` is the share of images for which it is one of them, and `right/<kind>` that of words of
    a kind that are right, see `right_words`.

    Attributes:
        model: linen module such as `models.Captioner`, with the attribute ``vocabulary``,
            ``model.apply(variables, images, tokens, train=…) -> logits`` and the methods ``begin``
            and ``go_on``.
        words: the word of each token.
        length: the largest number of words that are written.
        beam: sentences that the search keeps, see `layers.beam_search`; 1 takes the likeliest word
            each time.
        length_power: of the search.
        kinds: pairs of a kind and the words that are of it.

    Raises:
        ConfigError: a model of another vocabulary, or a length or beam below 1.
    """

    model: nn.Module
    words: tuple[str, ...]
    length: int = 20
    beam: int = 1
    length_power: float = 0.0
    kinds: tuple[tuple[str, tuple[str, ...]], ...] = ()

    best_metric: ClassVar[str] = "bleu4"
    higher_is_better: ClassVar[bool] = True

    def __post_init__(self) -> None:
        for name in ("length", "beam"):
            if getattr(self, name) < 1:
                raise ConfigError(f"{name} must be at least 1, got {getattr(self, name)}")
        if self.model.vocabulary != len(self.words):
            raise ConfigError(
                f"the model has a vocabulary of {self.model.vocabulary:,} words, and "
                f"{len(self.words):,} words are given: create it with as many"
            )

    @property
    def metrics(self) -> tuple[str, ...]:
        """Names of the metrics."""
        kinds = (f"right/{kind}" for kind, _ in self.kinds)
        return ("loss", "perplexity", *BLEU, "exact", *kinds)

    def check(self, dataset: Any) -> None:
        """Raise ConfigError if the examples have no captions, or are of another vocabulary."""
        tokens = dataset.spec.get("tokens")
        if tokens is None or len(tokens.shape) != 2 or "image" not in dataset.spec:
            raise ConfigError(
                "captioning needs images with tokens [captions, time]: "
                f"{dataset.title} has {', '.join(dataset.spec)}"
            )
        if self.words != tuple(dataset.class_names):
            other = sorted(set(dataset.class_names) - set(self.words))
            raise ConfigError(
                f"the network's vocabulary of {len(self.words):,} words is not that of "
                f"{dataset.title}, {len(dataset.class_names):,} words"
                + (f", such as {', '.join(map(repr, other[:5]))}" if other else " in another order")
                + ": take the captions that it was trained on, or train it on these"
            )

    def init(self, key: Key[Array, ""], spec: Spec) -> tuple[PyTree, PyTree]:
        """Fresh ``(params, model_state)`` for examples of a spec."""
        images = jnp.zeros((1, *spec["image"].shape))
        tokens = jnp.zeros((1, *spec["tokens"].shape), jnp.int32)
        variables = init_variables(self.model, key, images, tokens)
        return variables.pop("params"), variables

    def loss_fn(
        self,
        params: PyTree,
        model_state: PyTree,
        batch: dict[str, Array],
        key: Key[Array, ""],
        train: bool,
    ) -> tuple[Array, tuple[PyTree, dict[str, Array]]]:
        """Weighted sum of the loss, the new model state, and sums for the metrics."""
        images, tokens = batch["image"], batch["tokens"]
        inputs, targets = jnp.maximum(tokens[..., :-1], 0), tokens[..., 1:]
        logits, model_state = apply_model(
            self.model, params, model_state, images, key, train, tokens=inputs
        )
        losses = softmax_cross_entropy(logits, targets, ignore_index=-1)
        counted = (targets >= 0).astype(losses.dtype)
        sums = weighted_sums(batch["weight"], loss=losses, weight=counted)
        return sums.pop("loss"), (model_state, sums)

    def predict(
        self, params: PyTree, model_state: PyTree, batch: Mapping[str, Array]
    ) -> dict[str, Array]:
        """The caption of each image, ``tokens`` [batch, length + 1], and its ``log_probability``.

        The token 1 is the last one, and -1 follows. A caption that is cut has no end.
        """
        variables = {"params": params, **model_state}
        state = self.model.apply(variables, batch["image"], method="begin")

        def step(tokens: Array, state: Any) -> tuple[Array, Any]:
            logits, state = self.model.apply(variables, tokens, state, method="go_on")
            return jax.nn.log_softmax(logits), state

        def of_image(state: Any) -> tuple[Array, Array]:
            return beam_search(
                step,
                state,
                begin=BEGIN,
                end=END,
                length=self.length + 1,
                beam=self.beam,
                length_power=self.length_power,
            )

        tokens, log_probability = jax.vmap(of_image)(state)
        return {"tokens": tokens[:, 0], "log_probability": log_probability[:, 0]}

    @staticmethod
    def summarize(sums: Mapping[str, Any]) -> dict[str, float]:
        """Mean loss in nats, and its exponential."""
        loss = mean(sums["loss"], sums["weight"])
        return {"loss": loss, "perplexity": perplexity(loss)}

    def rows(
        self, params: PyTree, model_state: PyTree, batch: dict[str, Array]
    ) -> dict[str, Array]:
        """What is written about every image, and what should be, for `measure`."""
        written = self.predict(params, model_state, batch)["tokens"]
        return {"written": written, "references": batch["tokens"]}

    def measure(self, rows: dict[str, np.ndarray]) -> dict[str, float]:
        """BLEU, and shares of right captions and words, of a whole split."""
        written = [words_of(row) for row in rows["written"]]
        references = [references_of(tokens) for tokens in rows["references"]]
        places = {word: token for token, word in enumerate(self.words)}
        kinds = {
            kind: {places[word] for word in words if word in places} for kind, words in self.kinds
        }
        exact = [caption in of_image for caption, of_image in zip(written, references, strict=True)]
        shares = right_words(written, references, kinds)
        return {
            **dict(zip(BLEU, bleu(written, references), strict=True)),
            "exact": float(np.mean(exact)),
            **{f"right/{kind}": share for kind, share in shares.items()},
        }


def words_of(tokens: np.ndarray) -> list[int]:
    """The words of a row of tokens, without what stands before and after them."""
    return tokens[tokens > END].tolist()


def references_of(tokens: np.ndarray) -> list[list[int]]:
    """The captions of an image, without rows of padding."""
    return [words_of(row) for row in tokens if row[0] >= 0]
