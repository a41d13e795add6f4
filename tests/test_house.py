"""Imports run one way, and TensorFlow is nowhere."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / "cnn_jax"
# Only experiments and tests see everything; training sees the data it is given, and how layers
# find the devices that they are mapped over.
MAY_IMPORT = {
    "layers": set(),
    "models": {"layers"},
    "style": {"layers"},
    "tasks": {"layers", "style"},
    "data": {"download"},
    "training": {"data", "layers"},
    "pretrained": {"download", "models"},
    "interpretability": set(),
    "visual": set(),
}


def imported_modules(path: Path) -> Iterator[str]:
    """Dotted names of all modules that a file imports, inside functions too."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


@pytest.mark.parametrize("part", sorted(MAY_IMPORT))
def test_a_part_imports_only_what_lies_below_it(part):
    beside = {"coco", "durable", "errors", "extras", "finite", "imagenet", "voc"}
    allowed = {part, *beside, *MAY_IMPORT[part]}
    for path in (PACKAGE / part).rglob("*.py"):
        for name in imported_modules(path):
            top, _, rest = name.partition(".")
            assert top not in ("experiments", "launch", "tests", "tensorflow"), f"{path}: {name}"
            if top == "cnn_jax":
                assert rest.split(".")[0] in allowed, f"{path.name} imports {name}"


def test_every_part_is_known():
    parts = {path.parent.name for path in PACKAGE.glob("*/__init__.py")}
    assert parts <= MAY_IMPORT.keys()
