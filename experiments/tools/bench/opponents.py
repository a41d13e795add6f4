"""The sides of one case: ours first, then its opponents."""

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, Literal

import jax

from cnn_jax.layers.cpu import onednn
from experiments.tools.bench.cases import AGAINST_TORCH, CASES, Case
from experiments.tools.bench.options import Precision
from experiments.tools.bench.processes import Side

Opponent = Literal["torch", "torch_compile", "flax", "xla"]
Work = Literal["training", "inference"]
DEFAULT: tuple[Opponent, ...] = ("torch", "torch_compile", "flax")
PACKAGE = "experiments.tools.bench"
OURS = "cnn_jax"


def platform() -> Literal["cpu", "gpu"]:
    """Where the sides run."""
    return "gpu" if jax.default_backend() == "gpu" else "cpu"


def batch_size_of(case: Case, asked: int) -> int:
    """The given batch size, or for 0 that of the case on this machine."""
    return asked or (case.gpu_batch_size if platform() == "gpu" else case.batch_size)


def make_sides(
    model: str,
    work: Work,
    *,
    batch_size: int,
    precision: Precision,
    opponents: Sequence[Opponent],
    directory: Path,
    **ours: Any,
) -> list[Side]:
    """Our side and its opponents for a model.

    Args:
        model: name of a case.
        work: the function of that name in `ours`, `pytorch` and `plain_flax`.
        batch_size: examples per step.
        precision: dtype of the computation.
        opponents: who takes part; `torch_compile` only on a GPU, and `xla`, which is ours without
            oneDNN, only on a CPU. A detector has neither `torch_compile`, whose programs are for
            fixed numbers of boxes, nor `flax`, and a GAN has no `flax`.
        directory: an empty directory for the files that the sides share.
        ours: further arguments of our side.
    """
    case = CASES[model]
    common = {
        "case": asdict(case),
        "batch_size": batch_size,
        "precision": precision,
        "directory": str(directory),
    }
    torch = common | {"platform": platform()}
    found = [Side(OURS, f"{PACKAGE}.ours:{work}", common | ours)]
    if "torch" in opponents:
        found.append(Side("PyTorch", f"{PACKAGE}.pytorch:{work}", torch, needed=False))
    fixed = case.task != "instances"
    if "torch_compile" in opponents and platform() == "gpu" and fixed:
        compiled = torch | {"compiled": True}
        found.append(Side("PyTorch, compiled", f"{PACKAGE}.pytorch:{work}", compiled, needed=False))
    if "flax" in opponents and case.task not in AGAINST_TORCH:
        found.append(Side("plain Flax", f"{PACKAGE}.plain_flax:{work}", common))
    if "xla" in opponents and platform() == "cpu":
        alone = {onednn.SWITCH: "0"}
        found.append(Side("cnn_jax by XLA", f"{PACKAGE}.ours:{work}", common | ours, alone))
    return found
