"""Models that experiment files register under names of their own."""

import importlib
from pathlib import Path

import experiments


def import_own_models() -> None:
    """Import the experiment files that register a model, so that `create_model` knows its name."""
    for path in sorted(Path(experiments.__path__[0]).glob("[!_]*.py")):
        # The others are not imported, which would take seconds.
        if "register(" in path.read_text(encoding="utf-8"):
            importlib.import_module(f"experiments.{path.stem}")
