"""Run a command that tells in a file what it is doing, so that it can be hit while it does it."""

import os
import runpy
import sys
import time
from collections.abc import Callable, Sequence
from functools import wraps
from pathlib import Path
from typing import Any, Literal, NamedTuple
from weakref import WeakSet

Phase = Literal["loading", "compiling", "training", "evaluating", "saving", "saved", "drawing"]


class Told(NamedTuple):
    """What a process has begun, or ended in the case of "saved"."""

    process: int
    phase: Phase
    step: int
    """Steps made before it; 0 where that is not known."""


def read_phases(path: Path) -> list[Told]:
    """What the processes of a command have told so far; nothing where there is no file."""
    lines = path.read_text().split("\n")[:-1] if path.exists() else []
    told = [line.split() for line in lines]
    return [Told(int(process), phase, int(step)) for process, phase, step in told]  # type: ignore[arg-type]


def run_telling(path: str, module: str, words: Sequence[str], stretch: float = 0.0) -> None:
    """Run ``python -m module words`` in this process, which adds a line to a file for each phase.

    Args:
        path: of the file.
        module: such as "experiments.resnet_cifar".
        words: its arguments.
        stretch: seconds that each phase is made longer.
    """
    # Here, because the reader of the file needs none of it.
    from matplotlib.figure import Figure

    from cnn_jax.data import load
    from cnn_jax.training import Checkpoints
    from cnn_jax.training.runner import Runner

    def tell(phase: Phase, step: Any = 0) -> None:
        with open(path, "a") as file:
            file.write(f"{os.getpid()} {phase} {int(step)}\n")

    def telling(function: Callable, begin: Callable[..., None]) -> Callable:
        @wraps(function)
        def told(*arguments: Any, **options: Any) -> Any:
            begin(*arguments)
            time.sleep(stretch)
            return function(*arguments, **options)

        return told

    compiled: WeakSet[Runner] = WeakSet()

    def advancing(runner: Runner, state: Any, *_: Any) -> None:
        tell("training" if runner in compiled else "compiling", state.step)
        compiled.add(runner)

    commit = Checkpoints._commit

    def committing(checkpoints: Checkpoints, step: int, *rest: Any) -> None:
        try:
            commit(checkpoints, step, *rest)
        finally:
            tell("saved", step)

    begins: dict[tuple[Any, str], Callable[..., None]] = {
        (load, "_open_named"): lambda *_: tell("loading"),
        (Runner, "advance"): advancing,
        (Runner, "evaluate"): lambda _, state, *rest: tell("evaluating", state.step),
        (Checkpoints, "save"): lambda _, step, *rest: tell("saving", step),
        (Figure, "savefig"): lambda *_: tell("drawing"),
    }
    for (owner, name), begin in begins.items():
        setattr(owner, name, telling(getattr(owner, name), begin))
    Checkpoints._commit = committing  # type: ignore[assignment, method-assign]
    sys.argv = [module, *words]
    runpy.run_module(module, run_name="__main__", alter_sys=True)
