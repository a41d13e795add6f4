"""Write text with the language model of a run.

    python -m experiments.generate --run runs/char_rnn/1234abcd
    python -m experiments.generate --run runs/char_rnn/1234abcd --prompt "ROMEO:" --temperature 0.5
    python -m experiments.generate --run runs/char_rnn/1234abcd --samples 5 --top-p 0.9 > text.txt

The text is written to the standard output. With several samples, a line of dashes is between them.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np
from rich.console import Console

from cnn_jax.data.text import UNKNOWN, Unit, encode, join_text, split_text
from cnn_jax.errors import ConfigError, check_range
from cnn_jax.models import LanguageModel
from cnn_jax.models.sampling import sample
from cnn_jax.pretrained import Network
from cnn_jax.saved_run import Checkpoint, load_run
from experiments.tools.command_line import run_tool
from experiments.tools.messages import printable
from experiments.tools.networks import checkpoint_of_run
from experiments.tools.run import set_up_jax

MOST_SAMPLES, MOST_TOKENS = 10_000, 10_000_000


@dataclass(frozen=True)
class Options:
    """Which language model, and how it writes."""

    run: str
    """Directory of a run of char_rnn; of several cells, followed by the name of one."""
    prompt: str = "\n"
    """Text that is gone on with."""
    length: int = 500
    """Tokens to write: characters, or words of a model of words."""
    samples: int = 1
    """Number of texts."""
    temperature: float = 0.8
    """Below 1 likelier tokens; 0 always the likeliest."""
    top_k: int = 0
    """Draw from so many of the likeliest tokens only; 0: all."""
    top_p: float = 1.0
    """Draw from the likeliest tokens that together have this probability."""
    seed: int = 0
    """Decides the texts."""
    checkpoint: str = ""
    """best (on the validation split), last, or the number of a step; by default the one whose
    metrics the run's final table shows."""

    def __post_init__(self) -> None:
        check_range(self, 1, MOST_TOKENS, length=self.length)
        check_range(self, 1, MOST_SAMPLES, samples=self.samples)
        check_range(self, 0, 100, temperature=self.temperature)
        check_range(self, 0, top_k=self.top_k, seed=self.seed)
        check_range(self, 0, 1, above=True, top_p=self.top_p)


def generate(network: Network, options: Options) -> list[str]:
    """The texts, each with its prompt.

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
    prompt = np.tile(encode(symbols, names), (options.samples, 1))
    tokens = sample(
        network.model,
        network.variables,
        jnp.asarray(prompt),
        jax.random.key(options.seed),
        length=options.length,
        temperature=options.temperature,
        top_k=options.top_k,
        top_p=options.top_p,
    )
    written = np.concatenate([prompt, tokens], axis=1)
    return [join_text([names[token] for token in row], unit) for row in written]


def main(argv: Sequence[str] | None = None) -> None:
    """Run the tool."""
    run_tool("generate", Options, _run, description=__doc__, argv=argv)


def _run(options: Options, console: Console) -> None:
    set_up_jax()
    checkpoint: Checkpoint = checkpoint_of_run(options.checkpoint)
    network = load_run(options.run, checkpoint)
    if not isinstance(network.model, LanguageModel):
        raise ConfigError(
            f"{network.title}: expected a language model, got a run of the task "
            f"{type(network.task).__name__}; name a run of char_rnn"
        )
    for number, text in enumerate(generate(network, options)):
        if number:
            print("-" * 40)
        print("\n".join(printable(line) for line in text.expandtabs(4).split("\n")))
