"""The programs of one case: ours first, then its opponents'."""

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, Literal

import jax

from cnn_jax.layers.cpu import onednn
from experiments.tools.bench.cases import CASES, Case
from experiments.tools.bench.options import Precision
from experiments.tools.bench.processes import Program

Opponent = Literal["torch", "torch_compile", "flax", "xla"]
Work = Literal["training", "inference"]
DEFAULT: tuple[Opponent, ...] = ("torch", "torch_compile", "flax")
PACKAGE = "experiments.tools.bench"
OURS = "cnn_jax"


def platform() -> Literal["cpu", "gpu"]:
    """Where the programs run."""
    return "gpu" if jax.default_backend() == "gpu" else "cpu"


def batch_size_of(case: Case, asked: int) -> int:
    """The batch size that was asked for, or that of the case on this machine."""
    return asked or (case.gpu_batch_size if platform() == "gpu" else case.batch_size)


def programs(
    model: str,
    work: Work,
    *,
    batch_size: int,
    precision: Precision,
    opponents: Sequence[Opponent],
    directory: Path,
    **ours: Any,
) -> list[Program]:
    """Ours and the opponents' programs for a model.

    Args:
        model: name of a case.
        work: the function of that name in `ours`, `pytorch` and `plain_flax`.
        batch_size: examples a step.
        precision: dtype of the computation, on all sides.
        opponents: who takes part; `torch_compile` does so on a GPU alone, and `xla`, which is ours
            without oneDNN, on a CPU.
        directory: an empty one, for what the programs share.
        ours: further arguments of our program.
    """
    case = CASES[model]
    common = {
        "case": asdict(case),
        "batch_size": batch_size,
        "precision": precision,
        "directory": str(directory),
    }
    torch = common | {"platform": platform()}
    found = [Program(OURS, f"{PACKAGE}.ours:{work}", common | ours)]
    if "torch" in opponents:
        found.append(Program("PyTorch", f"{PACKAGE}.pytorch:{work}", torch, needed=False))
    if "torch_compile" in opponents and platform() == "gpu":
        compiled = torch | {"compiled": True}
        found.append(
            Program("PyTorch, compiled", f"{PACKAGE}.pytorch:{work}", compiled, needed=False)
        )
    if "flax" in opponents:
        found.append(Program("plain Flax", f"{PACKAGE}.plain_flax:{work}", common))
    if "xla" in opponents and platform() == "cpu":
        alone = {onednn.SWITCH: "0"}
        found.append(Program("cnn_jax by XLA", f"{PACKAGE}.ours:{work}", common | ours, alone))
    return found
