"""Texts that a language model writes, for the tool `generate`."""

from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np

from cnn_jax.data.text import UNKNOWN, Unit, encode, join_text, split_text
from cnn_jax.errors import ConfigError, check_range
from cnn_jax.models.sampling import sample
from cnn_jax.pretrained import Network

MOST_TOKENS = 10_000_000


@dataclass(frozen=True)
class TextOptions:
    """How a language model writes."""

    prompt: str = "\n"
    """Text that is gone on with."""
    length: int = 500
    """Tokens to write: characters, or words of a model of words."""
    temperature: float = 0.8
    """Below 1 likelier tokens; 0 always the likeliest."""
    top_k: int = 0
    """Draw from so many of the likeliest tokens only; 0: all."""
    top_p: float = 1.0
    """Draw from the likeliest tokens that together have this probability."""

    def __post_init__(self) -> None:
        check_range(self, 1, MOST_TOKENS, length=self.length)
        check_range(self, 0, 100, temperature=self.temperature)
        check_range(self, 0, top_k=self.top_k)
        check_range(self, 0, 1, above=True, top_p=self.top_p)


def write_texts(network: Network, options: TextOptions, *, samples: int, seed: int) -> list[str]:
    """The texts, each with its prompt.

    Args:
        network: a language model.
        options: how it writes.
        samples: number of texts.
        seed: decides them.

    Raises:
        ConfigError: an empty prompt, or one with tokens that the model does not know.
    """
    names = network.class_names
    unit: Unit = "character" if all(len(name) == 1 for name in names) else "word"
    symbols = split_text(options.prompt, unit)
    if not len(symbols):
        raise ConfigError(f"--prompt has no {unit}: {options.prompt!r}")
    unknown = sorted(set(symbols) - set(names))
    if unknown and UNKNOWN not in names:
        raise ConfigError(
            f"--prompt has {unit}s that {network.title} does not know: "
            + ", ".join(map(repr, unknown[:10]))
        )
    prompt = np.tile(encode(symbols, names), (samples, 1))
    tokens = sample(
        network.model,
        network.variables,
        jnp.asarray(prompt),
        jax.random.key(seed),
        length=options.length,
        temperature=options.temperature,
        top_k=options.top_k,
        top_p=options.top_p,
    )
    written = np.concatenate([prompt, tokens], axis=1)
    return [join_text([names[token] for token in row], unit) for row in written]
