"""Input: data on the device, and JPEG files to augmented batches, against PyTorch.

Data on the device: training steps that gather their batches, against the same steps on one batch.
JPEG folder: decode, random resized crop, flip and normalize, with the same number of worker
processes. Our side flips and normalizes on the device. Rates are images per second, and images per
second of processor time of all processes of a side. Without --folder the files are cut from
scikit-learn's two photographs.
"""

import tempfile
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from rich.console import Console

from cnn_jax.errors import check_range
from experiments.tools.bench.cases import CASES
from experiments.tools.bench.comparison import Comparison, added, rates, timings, warm_up
from experiments.tools.bench.opponents import PACKAGE, batch_size_of, platform
from experiments.tools.bench.options import Steps
from experiments.tools.bench.processes import Side, started
from experiments.tools.bench.train_step import Model
from experiments.tools.photographs import load_photograph

FILES = 512
"""Number of JPEG files that are written without --folder."""
SIDES = (64, 400)
"""Least and largest side of these files, in pixels."""
STREAM_BATCH_SIZE = 64


@dataclass(frozen=True)
class Options(Steps):
    """How fast batches come from data on the device and from JPEG files."""

    model: Model = "cifar_resnet20"
    """Network whose steps use the data on the device."""
    folder: str = ""
    """Folder with train/<class>/*.jpg; a temporary one by default."""
    image_size: int = 224
    """Height and width of the random resized crops of the folder's images."""
    workers: tuple[int, ...] = (0, 2)
    """Numbers of worker processes, one comparison each; 0 decodes in the main process."""

    def __post_init__(self) -> None:
        super().__post_init__()
        check_range(self, 1, image_size=self.image_size)
        check_range(self, 0, workers=self.workers)


def measure(options: Options, console: Console) -> Iterable[Comparison]:
    """The data on the device, then the folder."""
    yield resident(options, console)
    with tempfile.TemporaryDirectory(prefix="bench_jpeg_") as temporary:
        folder = Path(options.folder).resolve() if options.folder else Path(temporary)
        if not options.folder:
            write_photographs(folder, FILES)
        for workers in options.workers:
            yield from streamed(options, folder, workers, console)


def resident(options: Options, console: Console) -> Comparison:
    """Steps that gather their batches on the device, and the same steps on one batch."""
    case = CASES[options.model]
    batch_size = batch_size_of(case, options.batch_size)
    arguments = {"case": asdict(case), "batch_size": batch_size, "augmented": True}
    sides = [
        Side("data on the device", f"{PACKAGE}.ours:training", arguments),
        Side("one batch", f"{PACKAGE}.ours:bare_step", arguments),
    ]
    with started(sides, console) as processes:
        warm_up(processes)
        answers = timings(processes, options.steps, options.rounds)
    comparison = Comparison(
        f"data on the device, cropped and flipped: {case.title}, batch {batch_size}",
        "images/s",
        rates(answers, options.steps * batch_size),
        details={"answers": answers},
    )
    return added(comparison, "gathering adds to a step")


def streamed(options: Options, folder: Path, workers: int, console: Console) -> list[Comparison]:
    """Batches from a folder of images, by wall-clock time and by processor time."""
    batch_size = options.batch_size or STREAM_BATCH_SIZE
    arguments: dict[str, Any] = {
        "folder": str(folder),
        "image_size": options.image_size,
        "batch_size": batch_size,
        "workers": workers,
    }
    theirs = arguments | {"platform": platform()}
    sides = [
        Side("cnn_jax", f"{PACKAGE}.our_stream:batches", arguments),
        Side("PyTorch", f"{PACKAGE}.torch_stream:batches", theirs, needed=False),
    ]
    with started(sides, console) as processes:
        warm_up(processes)
        answers = timings(processes, options.steps, options.rounds)
    work = options.steps * batch_size
    title = f"JPEG folder, {workers} workers, crops of {options.image_size} x {options.image_size}"
    title += f", batch {batch_size}"
    # Processor time is counted in hundredths of a second.
    processor = {
        name: [work / max(row["cpu_seconds"], 0.01) for row in rows]
        for name, rows in answers.items()
    }
    return [
        Comparison(title, "images/s", rates(answers, work), details={"answers": answers}),
        Comparison(f"{title}, per second of processor time", "images/s", processor),
    ]


def write_photographs(folder: Path, count: int) -> None:
    """Write parts of two photographs as JPEG files of many sizes, one class per photograph."""
    rng = np.random.default_rng(0)
    for name in ("temple", "flower"):
        photograph = np.round(255 * load_photograph(name, SIDES[1])).astype(np.uint8)
        (folder / "train" / name).mkdir(parents=True)
        for number in range(count // 2):
            height, width = rng.integers(SIDES[0], SIDES[1], 2, endpoint=True)
            top = rng.integers(photograph.shape[0] - height, endpoint=True)
            left = rng.integers(photograph.shape[1] - width, endpoint=True)
            part = photograph[top : top + height, left : left + width]
            Image.fromarray(part).save(folder / "train" / name / f"{number}.jpg", quality=90)
