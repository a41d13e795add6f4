"""Let the network of a run write text or make images.

    python -m experiments.generate --run runs/char_rnn/1234abcd
    python -m experiments.generate --run runs/char_rnn/1234abcd --prompt "ROMEO:" --temperature 0.5
    python -m experiments.generate --run runs/char_rnn/1234abcd --samples 5 --top-p 0.9 > text.txt
    python -m experiments.generate --run runs/dcgan/1234abcd/gan --samples 64 --truncation 1.5
    python -m experiments.generate --run runs/dcgan/1234abcd/gan --samples 5 --between 8
    python -m experiments.generate --run runs/dcgan/1234abcd/gan --label Sneaker

Text is written to the standard output, with a line of dashes between several samples. Images are
written as images/*.png, and samples.png shows all of them.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field, fields
from typing import Any

from rich.console import Console
from tyro.conf import OmitArgPrefixes

from cnn_jax.errors import ConfigError, check_range
from cnn_jax.models import GAN, LanguageModel
from cnn_jax.saved_run import Checkpoint, load_run
from experiments.tools.command_line import run_tool
from experiments.tools.generate_images import ImageOptions, write_images
from experiments.tools.generate_text import TextOptions, write_texts
from experiments.tools.messages import printable, say
from experiments.tools.networks import checkpoint_of_run
from experiments.tools.run import set_up_jax

MOST_SAMPLES = 10_000


@dataclass(frozen=True)
class Options:
    """Which network, and what it makes."""

    run: str
    """Directory of a run of char_rnn or dcgan; of a study, followed by the name of a member."""
    samples: int = 1
    """Number of texts or images; with --between, of images between which others lie."""
    seed: int = 0
    """Decides them."""
    checkpoint: str = ""
    """best (on the validation split), last, or the number of a step; by default the one whose
    metrics the run's final table shows."""
    text: OmitArgPrefixes[TextOptions] = field(default_factory=TextOptions)
    images: OmitArgPrefixes[ImageOptions] = field(default_factory=ImageOptions)

    def __post_init__(self) -> None:
        check_range(self, 1, MOST_SAMPLES, samples=self.samples)
        check_range(self, 0, seed=self.seed)


def main(argv: Sequence[str] | None = None) -> None:
    """Run the tool."""
    run_tool("generate", Options, _run, description=__doc__, argv=argv)


def _run(options: Options, console: Console) -> None:
    set_up_jax()
    checkpoint: Checkpoint = checkpoint_of_run(options.checkpoint)
    network = load_run(options.run, checkpoint)
    drawn = {"samples": options.samples, "seed": options.seed}
    if isinstance(network.model, LanguageModel):
        _refuse(options.images, "images", network.title)
        for number, text in enumerate(write_texts(network, options.text, **drawn)):
            if number:
                print("-" * 40)
            print("\n".join(printable(line) for line in text.expandtabs(4).split("\n")))
    elif isinstance(network.model, GAN):
        _refuse(options.text, "text", network.title)
        say(console, write_images(network, options.images, **drawn))
    else:
        raise ConfigError(
            f"{network.title}: expected a language model or a generator of images, got a run of "
            f"the task {type(network.task).__name__}; name a run of char_rnn or dcgan"
        )


def _refuse(options: Any, what: str, title: str) -> None:
    """Raise ConfigError where a flag is given that the network has no use for."""
    default = type(options)()
    names = [one.name for one in fields(options)]
    given = [name for name in names if getattr(options, name) != getattr(default, name)]
    if given:
        flags = ", ".join(f"--{name.replace('_', '-')}" for name in given)
        raise ConfigError(f"{title} makes no {what}, which {flags} is for; leave it out")
