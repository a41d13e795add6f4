"""A network as one file that runs wherever JAX is, without this package.

    python -m experiments.export --model resnet50 --output exported/
    python -m experiments.export --run runs/resnet_cifar/1234abcd --platforms cpu

Writes model.stablehlo, the network in evaluation with its weights, for batches of any size; and
model.json, which says what it expects of an image and what its outputs are called. Both are then
tried in a fresh process that has JAX alone; the logits have to be those that they are here.
"""

import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import jax
import numpy as np
import tyro
from rich.console import Console
from rich.markup import escape
from tyro.conf import OmitArgPrefixes

from cnn_jax.errors import UserError
from cnn_jax.export import PLATFORMS, export_stablehlo
from cnn_jax.pretrained import Network
from experiments.tools.messages import user_errors
from experiments.tools.networks import NetworkConfig, load_network
from experiments.tools.run import set_up_jax
from experiments.tools.run_directory import write_json

TOLERANCE = 1e-4
"""Greatest difference of logits between the two processes, in units of the largest logit."""

# In isolation (-I) nothing of the checkout is on the path; an installed package cannot be imported.
FRESH_PROCESS = """
import sys
for name in ("cnn_jax", "experiments", "flax"):
    sys.modules[name] = None
import jax, numpy
from jax import export
folder, scratch = sys.argv[1:]
with open(folder + "/model.stablehlo", "rb") as file:
    program = export.deserialize(bytearray(file.read()))
images = numpy.load(scratch + "/images.npy")
numpy.savez(scratch + "/logits.npz", *[program.call(images[:batch]) for batch in (1, 3)])
"""

USE = """import json
from jax import export
program = export.deserialize(bytearray(open("{folder}/model.stablehlo", "rb").read()))
about = json.load(open("{folder}/model.json"))
logits = program.call(images)  # float32 [batch, {shape}], as about["preprocessing"] says"""


@dataclass(frozen=True)
class Options:
    """Which network, and where it goes."""

    network: OmitArgPrefixes[NetworkConfig] = field(default_factory=NetworkConfig)
    platforms: tuple[str, ...] = PLATFORMS
    """Where the program shall run."""
    output: str = "exported"
    """Folder for model.stablehlo and model.json."""


def description(
    network: Network, image_shape: Sequence[int], platforms: Sequence[str]
) -> dict[str, Any]:
    """What the program expects and gives, for model.json."""
    preprocessing: Any = network.preprocessing
    return {
        "network": network.title,
        "input": {"shape": [None, *image_shape], "dtype": "float32", "layout": "NHWC"},
        "preprocessing": {
            "order": "RGB in [0, 1]; resize the shorter side; crop the centre; (x - mean) / std",
            **asdict(preprocessing),
        },
        "output": "logits",
        "classes": list(network.class_names),
        "platforms": list(platforms),
        "jax": jax.__version__,
    }


def check(folder: Path, network: Network, image_shape: Sequence[int]) -> float:
    """The greatest difference between logits here and in a fresh process, of the largest logit.

    Raises:
        UserError: the program does not run there.
    """
    images = np.random.default_rng(0).standard_normal((3, *image_shape), np.float32)
    # Both on the CPU: an accelerator has its own precision, and belongs to this process already.
    variables: Any = jax.device_put(network.variables, jax.local_devices(backend="cpu")[0])
    here = np.asarray(jax.jit(network.model.apply)(variables, images))
    with tempfile.TemporaryDirectory() as scratch:
        np.save(Path(scratch) / "images.npy", images)
        process = subprocess.run(
            [sys.executable, "-I", "-c", FRESH_PROCESS, str(folder.resolve()), scratch],
            capture_output=True,
            text=True,
            env={**os.environ, "JAX_PLATFORMS": "cpu"},
        )
        if process.returncode:
            raise UserError(f"the exported program does not run:\n{process.stderr.strip()}")
        with np.load(Path(scratch) / "logits.npz") as there:
            differences = [np.abs(logits - here[: len(logits)]).max() for logits in there.values()]
    return float(max(differences) / np.abs(here).max())


def main(argv: Sequence[str] | None = None) -> None:
    """Export, check, and print how to use it."""
    options = tyro.cli(Options, prog="python -m experiments.export", description=__doc__, args=argv)
    console = Console(width=None if sys.stdout.isatty() else 120)
    with user_errors(console):
        _run(options, console)


def _run(options: Options, console: Console) -> None:
    set_up_jax()
    network = load_network(options.network)
    image_shape = network.preprocessing.image_shape
    folder = Path(options.output)
    program = export_stablehlo(
        network.model, network.variables, image_shape, platforms=options.platforms
    )
    try:
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "model.stablehlo").write_bytes(program)
        write_json(folder / "model.json", description(network, image_shape, options.platforms))
    except OSError as error:
        raise UserError(
            f"cannot write to {folder}: {error.strerror}; give another folder with --output"
        ) from None
    if "cpu" in options.platforms:
        difference = check(folder, network, image_shape)
        if not difference <= TOLERANCE:
            raise UserError(
                f"in a fresh process the logits differ by {difference:.1e} of the largest, "
                f"expected {TOLERANCE:.0e} at most"
            )
        checked = f"the same logits in a fresh process with JAX alone, to {difference:.0e}"
    else:
        checked = "not tried, as it does not run on the CPU"
    console.print(
        f"{escape(network.title)}: {len(program) / 2**20:.1f} MiB in "
        f"{escape(str(folder))}/model.stablehlo ({checked})\n",
        highlight=False,
        soft_wrap=True,
    )
    use = USE.format(folder=folder, shape=", ".join(map(str, image_shape)))
    console.print(use, markup=False, highlight=False, soft_wrap=True)
