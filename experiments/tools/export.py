"""Export a network to one file that runs with JAX alone.

    python -m experiments.export --model resnet50 --output exported/
    python -m experiments.export --run runs/resnet_cifar/1234abcd --platforms cpu

Writes model.stablehlo, the network in evaluation mode with its weights, for any batch size, and
model.json, which describes its preprocessing and classes. The exported program is then checked in a
new process without this package: its logits must equal those of the network.
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
from rich.console import Console
from tyro.conf import OmitArgPrefixes

from cnn_jax.errors import UserError
from cnn_jax.export import PLATFORMS, export_stablehlo
from cnn_jax.pretrained import Network
from experiments.tools.command_line import run_tool
from experiments.tools.messages import say
from experiments.tools.networks import NetworkConfig, load_network
from experiments.tools.output import OutputConfig, output_folder, writing
from experiments.tools.run import set_up_jax
from experiments.tools.run_directory import write_json

TOLERANCE = 1e-4
"""Largest difference of logits between the two processes, relative to the largest logit."""

# -I removes the checkout from the path. The assignments hide installed packages.
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
    """Network and output."""

    network: OmitArgPrefixes[NetworkConfig] = field(default_factory=NetworkConfig)
    platforms: tuple[str, ...] = PLATFORMS
    """Platforms on which the program can run."""
    output: OmitArgPrefixes[OutputConfig] = field(default_factory=OutputConfig)


def description(
    network: Network, image_shape: Sequence[int], platforms: Sequence[str]
) -> dict[str, Any]:
    """The content of model.json: inputs and outputs of the program."""
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
    """The largest difference of logits between this process and a new one, relative to the largest.

    Raises:
        UserError: the program does not run in the new process.
    """
    images = np.random.default_rng(0).standard_normal((3, *image_shape), np.float32)
    # Both run on the CPU: an accelerator has another precision and is occupied by this process.
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
    """Run the tool."""
    run_tool("export", Options, _run, description=__doc__, argv=argv)


def _run(options: Options, console: Console) -> None:
    set_up_jax()
    network = load_network(options.network)
    image_shape = network.preprocessing.image_shape
    folder = output_folder(options.output, "export", network.title)
    program = export_stablehlo(
        network.model, network.variables, image_shape, platforms=options.platforms
    )
    with writing(folder):
        (folder / "model.stablehlo").write_bytes(program)
        write_json(folder / "model.json", description(network, image_shape, options.platforms))
    if "cpu" in options.platforms:
        difference = check(folder, network, image_shape)
        if not difference <= TOLERANCE:
            raise UserError(
                f"in a new process the logits differ by {difference:.1e} of the largest, "
                f"expected at most {TOLERANCE:.0e}"
            )
        checked = f"checked in a new process with JAX alone, to {difference:.0e}"
    else:
        checked = "not checked: not exported for the CPU"
    size = f"{len(program) / 2**20:.1f} MiB in {folder}/model.stablehlo"
    say(console, f"{network.title}: {size} ({checked})\n")
    say(console, USE.format(folder=folder, shape=", ".join(map(str, image_shape))))
