"""Write a caption of each image, as a table, files and a figure.

    python -m experiments.caption --run runs/image_captioning/1234abcd photos/
    python -m experiments.caption --run runs/image_captioning/1234abcd --beam 5 photos/*.jpg

Folders are searched recursively. Files that cannot be read are listed at the end. Writes
captions.csv, captions.json and captions.png, a picture of the first images.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure
from rich.console import Console
from rich.markup import escape
from rich.table import Table
from tyro.conf import OmitArgPrefixes, Positional

from cnn_jax.data.captions import join_words
from cnn_jax.errors import ConfigError, check_range
from cnn_jax.pretrained import Network
from cnn_jax.saved_run import load_run
from cnn_jax.tasks import Captioning
from cnn_jax.visual import CaptionedImage, caption_grid, save_figure
from experiments.tools.command_line import run_tool
from experiments.tools.image_files import BadImage, find_images, read_images, show_bad
from experiments.tools.messages import printable, say
from experiments.tools.networks import checkpoint_of_run
from experiments.tools.on_files import outputs_of_files
from experiments.tools.output import OutputConfig, output_folder, write_csv, writing
from experiments.tools.run import set_up_jax
from experiments.tools.run_directory import write_json

SHOWN = 24
"""Largest number of images in the table and the figure. The files contain all images."""


@dataclass(frozen=True)
class Options:
    """Images, network and output."""

    images: Positional[tuple[str, ...]]
    """Image files, and folders of them."""
    run: str
    """Directory of a run of image_captioning; of a study, followed by the name of a member."""
    checkpoint: str = ""
    """best (on the validation split), last, or the number of a step; by default the one whose
    metrics the run's final table shows."""
    beam: int = 0
    """Sentences that the search for the likeliest caption keeps; 0: as many as in the run."""
    batch_size: int = 32
    """Images per call of the network."""
    output: OmitArgPrefixes[OutputConfig] = field(default_factory=OutputConfig)

    def __post_init__(self) -> None:
        check_range(self, 0, beam=self.beam)
        check_range(self, 1, batch_size=self.batch_size)


@dataclass(frozen=True)
class Caption:
    """What the network says of one file, and the log probability of the sentence."""

    path: Path
    text: str
    log_probability: float


def caption(
    network: Network, paths: Sequence[Path], *, batch_size: int
) -> tuple[list[Caption], list[BadImage]]:
    """A caption of each file, and the files that could not be read.

    Args:
        network: of the task `Captioning`.
        paths: files from `find_images`. One batch of images is in memory at a time.
        batch_size: images per batch.

    Raises:
        UserError: no file can be read.
    """

    def write(variables: Any, inputs: Any) -> Any:
        model_state = {name: value for name, value in variables.items() if name != "params"}
        return network.task.predict(variables["params"], model_state, {"image": inputs})

    read, found, bad = outputs_of_files(write, network, paths, batch_size=batch_size)
    texts = [join_words(tokens.tolist(), network.class_names) for tokens in found["tokens"]]
    scores = found["log_probability"].tolist()
    return [Caption(*one) for one in zip(read, texts, scores, strict=True)], bad


def main(argv: Sequence[str] | None = None) -> None:
    """Run the tool."""
    run_tool("caption", Options, _run, description=__doc__, argv=argv)


def _run(options: Options, console: Console) -> None:
    set_up_jax()
    paths = find_images(options.images)
    network = load_run(options.run, checkpoint_of_run(options.checkpoint))
    if not isinstance(network.task, Captioning):
        raise ConfigError(
            f"{network.title}: expected a network that writes captions, got a run of the task "
            f"{type(network.task).__name__}; name a run of image_captioning"
        )
    if options.beam:
        network = replace(network, task=replace(network.task, beam=options.beam))
    folder = output_folder(options.output, "caption", network.title)
    captions, bad = caption(network, paths, batch_size=options.batch_size)
    console.print(_table(network, captions[:SHOWN]))
    with writing(folder):
        rows = [{**vars(one), "path": str(one.path)} for one in captions]
        unreadable = [{"path": str(path), "reason": reason} for path, reason in bad]
        written = {"network": network.title, "captions": rows, "unreadable": unreadable}
        write_csv(folder / "captions.csv", rows)
        write_json(folder / "captions.json", written)
        save_figure(_sheet(network, captions), folder / "captions.png")
    images = f"{len(captions)} image{'s' if len(captions) > 1 else ''}"
    say(console, f"{images}; see {folder}: captions.csv, captions.json, captions.png")
    show_bad(console, bad)


def _table(network: Network, captions: Sequence[Caption]) -> Table:
    """A table with one row per image."""
    shown = Table(title=escape(printable(network.title)), title_justify="left")
    for heading in ("image", "caption"):
        shown.add_column(heading, overflow="fold")
    for one in captions:
        shown.add_row(escape(printable(one.path)), escape(printable(one.text)))
    return shown


def _sheet(network: Network, captions: Sequence[Caption]) -> Figure:
    """A picture of the first images. They are read again: not all of them fit into memory."""
    first = {one.path: one for one in captions[:SHOWN]}
    images, _ = read_images(list(first))
    shown = [
        CaptionedImage(
            network.preprocessing.resize_and_crop(image),
            printable(first[path].text).split(),
            reference=printable(path.name),
        )
        for path, image in images
    ]
    more = f"; the first {SHOWN} of {len(captions)} images" if len(captions) > SHOWN else ""
    return caption_grid(shown, title=printable(network.title) + more)
