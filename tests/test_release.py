"""The version is the same everywhere, and the scripts of `.ci` are sound."""

import shutil
import subprocess
from pathlib import Path

import pytest
import yaml

import cnn_jax

ROOT = Path(__file__).parents[1]


def test_citation_and_changelog_have_the_version():
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    assert citation["version"] == cnn_jax.__version__
    newest = next(
        line for line in (ROOT / "CHANGELOG.md").read_text().splitlines() if line.startswith("## ")
    )
    assert newest.removeprefix("## ").split(",")[0] == cnn_jax.__version__


@pytest.mark.parametrize("name", ["run", "wheel"])
def test_a_script_is_sound(name):
    script = ROOT / ".ci" / name
    subprocess.run(["bash", "-n", script], check=True)
    if checker := shutil.which("shellcheck"):
        subprocess.run([checker, script], check=True)
