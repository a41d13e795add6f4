"""Does the device wait for its data? And JPEG files to augmented batches, ours against PyTorch's.

Data on the device: training steps over batches that are gathered there, against the same steps over
one batch again and again. JPEG folder: decode, random resized crop, flip, normalize, with the same
number of worker processes; ours flips and normalizes on the device, in the step, and what comes out
is there. Images a second, and images a second of processor time, over all of a program's processes.
Without --folder the files are parts of scikit-learn's two photographs.
"""

import tempfile
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from rich.console import Console

from experiments.tools.bench.cases import CASES
from experiments.tools.bench.comparison import Comparison, added, rates, timings, warm_up
from experiments.tools.bench.opponents import PACKAGE, batch_size_of, platform
from experiments.tools.bench.options import Steps
from experiments.tools.bench.processes import Program, started
from experiments.tools.bench.train_step import Model
from experiments.tools.photographs import load_photograph

FILES = 512
"""JPEG files that are written where no folder is given."""
SIDES = (64, 400)
"""Their least and largest side, in pixels."""
STREAM_BATCH_SIZE = 64


@dataclass(frozen=True)
class Options(Steps):
    """Data on the device and JPEG files: how fast do batches come?"""

    model: Model = "cifar_resnet20"
    """Network whose steps use the data on the device."""
    folder: str = ""
    """Folder of train/<class>/*.jpg; by default a temporary one."""
    image_size: int = 224
    """Height and width of the random resized crops of the folder's images."""
    workers: tuple[int, ...] = (0, 2)
    """Numbers of worker processes, one comparison each; 0 decodes in the program's own."""


def measure(options: Options, console: Console) -> list[Comparison]:
    """The data on the device, then the folder."""
    comparisons = [resident(options, console)]
    with tempfile.TemporaryDirectory(prefix="bench_jpeg_") as temporary:
        folder = Path(options.folder).resolve() if options.folder else Path(temporary)
        if not options.folder:
            write_photographs(folder, FILES)
        for workers in options.workers:
            comparisons += streamed(options, folder, workers, console)
    return comparisons


def resident(options: Options, console: Console) -> Comparison:
    """Steps that gather their batches on the device, and the same steps over one batch."""
    case = CASES[options.model]
    batch_size = batch_size_of(case, options.batch_size)
    arguments = {"case": asdict(case), "batch_size": batch_size, "augmented": True}
    sides = [
        Program("data on the device", f"{PACKAGE}.ours:training", arguments),
        Program("one batch", f"{PACKAGE}.ours:bare_step", arguments),
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
    """Batches of a folder of images: by the clock, and by processor time."""
    batch_size = options.batch_size or STREAM_BATCH_SIZE
    arguments: dict[str, Any] = {
        "folder": str(folder),
        "image_size": options.image_size,
        "batch_size": batch_size,
        "workers": workers,
    }
    theirs = arguments | {"platform": platform()}
    sides = [
        Program("cnn_jax", f"{PACKAGE}.our_stream:batches", arguments),
        Program("PyTorch", f"{PACKAGE}.torch_stream:batches", theirs, needed=False),
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
        Comparison(f"{title}: a second of processor time", "images/s", processor),
    ]


def write_photographs(folder: Path, count: int) -> None:
    """Parts of two photographs as JPEG files of many sizes, a class each."""
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
