"""The sides of the style benchmark do the same work; nothing by a clock."""

from importlib.util import find_spec

import pytest

from experiments.tools.bench import ours, style
from tests.tolerance import assert_close

pytestmark = pytest.mark.skipif(not find_spec("torch"), reason="needs torch")


@pytest.fixture(autouse=True)
def quiet(monkeypatch):
    """Leave this process's memory and compilation cache as they are."""
    monkeypatch.setattr(ours, "set_up", lambda keep_memory=True: None)


@pytest.mark.parametrize("work", ["one_pass", pytest.param("optimization", marks=pytest.mark.full)])
def test_both_sides_give_the_same_numbers(work, tmp_path):
    from experiments.tools.bench import torch_style

    arguments = {"size": 32, "directory": str(tmp_path)}
    mine = getattr(style, work)(**arguments)
    theirs = getattr(torch_style, work)(**arguments, platform="cpu")
    for steps in (1, 2):
        assert_close(mine(steps), theirs(steps), rtol=1e-3)
