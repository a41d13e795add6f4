"""Layers of a model with their shapes, parameters and multiplications.

    python -m experiments.summary                        a list of all models
    python -m experiments.summary resnet50
    python -m experiments.summary googlenet --depth 2 --image-size 299
    python -m experiments.summary cifar_resnet20 --num-classes 100

MACs are the multiply-accumulate operations of convolutions and linear layers for one image, which
papers and torchvision call FLOPs.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from rich.columns import Columns
from rich.console import Console
from rich.table import Table
from tyro.conf import Positional

from cnn_jax.errors import check_range
from cnn_jax.models import create_model, example_shape, list_models
from cnn_jax.models.summary import LayerSummary, tabulate
from experiments.tools.command_line import run_tool
from experiments.tools.own_models import import_own_models


@dataclass(frozen=True)
class Options:
    """Model and image shape."""

    model: Positional[str] = ""
    """Name of the model; without it all names are listed."""
    image_size: int | None = None
    """Height and width in pixels; by default 32 for CIFAR models, 28 for models of digits, 299 for
    Inception v3, and 224 for the others."""
    channels: int | None = None
    """Channels of an image; by default 1 for models of digits and 3 for the others."""
    num_classes: int | None = None
    """Number of outputs; by default the model's own. 0 leaves the last layer out."""
    depth: int | None = None
    """Number of module levels to show; by default all. Inner modules count for the outer ones."""

    def __post_init__(self) -> None:
        check_range(self, 1, image_size=self.image_size, channels=self.channels, depth=self.depth)
        check_range(self, 0, num_classes=self.num_classes)


def table(rows: Sequence[LayerSummary], *, title: str) -> Table:
    """A table with one row per module, indented by level, and the totals."""
    shown = Table(title=title, title_justify="left", show_footer=True)
    shown.add_column("layer", "total", overflow="fold")
    shown.add_column("type")
    shown.add_column("output", justify="right")
    for heading, counts in (
        ("parameters", [row.parameters for row in rows]),
        ("MACs", [row.macs for row in rows]),
    ):
        shown.add_column(heading, f"{sum(counts):,}", justify="right")
    for row in rows:
        *above, name = row.path.split("/")
        shown.add_row(
            ("  " * (len(above) + 1) + name) if row.path else "(model)",
            row.kind,
            " x ".join(map(str, row.output_shape)) or "1",
            f"{row.parameters:,}" if row.parameters else "",
            f"{row.macs:,}" if row.macs else "",
        )
    return shown


def main(argv: Sequence[str] | None = None) -> None:
    """Run the tool."""
    run_tool("summary", Options, _run, description=__doc__, argv=argv)


def _run(options: Options, console: Console) -> None:
    import_own_models()
    if not options.model:
        console.print(Columns(list_models(), column_first=True, expand=False))
        return
    attributes: dict[str, Any] = {}
    if options.num_classes is not None:
        attributes["num_classes"] = options.num_classes
    model = create_model(options.model, **attributes)
    height, width, channels = example_shape(options.model)
    height, width = (options.image_size or size for size in (height, width))
    shape = (height, width, options.channels or channels)
    rows = tabulate(model, shape, depth=options.depth)
    pixels = " x ".join(map(str, shape))
    console.print(table(rows, title=f"{options.model}, images of {pixels}"), highlight=False)
    macs = sum(row.macs for row in rows)
    parameters = sum(row.parameters for row in rows)
    console.print(
        f"{parameters:,} parameters ({4 * parameters / 2**20:,.1f} MiB as float32), "
        f"{macs / 1e9:.3f} G MACs an image",
        highlight=False,
    )
