"""The documentation: every block of Python runs, every command has flags that exist."""

import importlib.util
import runpy
import sys
import types
import warnings

import pytest
import tyro

from cnn_jax.models import registry
from experiments.tools.pages import ROOT, blocks, modules, pages

WITH_PYTHON = [page for page in pages() if any(b.language == "python" for b in blocks(page))]
SHELL_BLOCKS = [block for page in pages() for block in blocks(page) if block.language == "bash"]


def named(block):
    return f"{block.page}:{block.line}"


@pytest.fixture
def page_module(monkeypatch, tmp_path, no_shape_hook):
    """A module of its own for the blocks of a page, in an empty directory, as a reader has it.

    What a page registers is forgotten after it.
    """
    module = types.ModuleType("page_of_docs")
    monkeypatch.setitem(sys.modules, module.__name__, module)
    monkeypatch.setattr(registry, "_ENTRIES", dict(registry._ENTRIES))
    monkeypatch.chdir(tmp_path)
    return module


@pytest.mark.parametrize("page", WITH_PYTHON)
def test_the_blocks_of_a_page_run_in_order(page, page_module, request):
    full = request.config.getoption("--full")
    for block in blocks(page):
        if block.language != "python" or block.where in ("network", "no"):
            continue
        if block.where == "full" and not full:
            continue
        # So that a traceback names the line of the page.
        source = "\n" * (block.line - 1) + block.text
        exec(compile(source, str(ROOT / page), "exec"), page_module.__dict__)


class Parsed(BaseException):
    """The command line was parsed; nothing has run."""


@pytest.fixture
def only_parse(monkeypatch):
    parse = tyro.cli

    def cli(*arguments, return_unknown_args=False, **options):
        parsed = parse(*arguments, return_unknown_args=return_unknown_args, **options)
        if return_unknown_args:  # a first look at some flags
            return parsed
        raise Parsed

    monkeypatch.setattr(tyro, "cli", cli)


def without_resumed(words):
    """The arguments without ``--resume RUN``: that run is on the reader's disk."""
    if "--resume" not in words:
        return words
    at = words.index("--resume")
    return words[:at] + words[at + 2 :]


@pytest.mark.parametrize("block", SHELL_BLOCKS, ids=named)
def test_the_flags_of_a_command_exist(block, only_parse, monkeypatch, tmp_path):
    files = {one.file: one for one in blocks(block.page) if one.file}
    for module, words in modules(block):
        if not module.startswith(("experiments.", "launch.")):
            continue
        written = files.get(module.replace(".", "/") + ".py")
        monkeypatch.setattr(sys, "argv", [module, *without_resumed(words)])
        with pytest.raises(SystemExit if "--help" in words else Parsed), warnings.catch_warnings():
            # runpy says that the module has been imported before, by another test.
            warnings.filterwarnings("ignore", ".*found in sys.modules", RuntimeWarning)
            if written:
                path = tmp_path / "written.py"
                path.write_text(written.text)
                runpy.run_path(str(path), run_name="__main__")
            else:
                assert importlib.util.find_spec(module), f"{named(block)}: no module {module}"
                runpy.run_module(module, run_name="__main__", alter_sys=True)


def test_the_parser_refuses_an_unknown_flag(only_parse, monkeypatch):
    monkeypatch.setattr(sys, "argv", ["experiments.resnet_cifar", "--no-such-flag", "1"])
    with pytest.raises(SystemExit), warnings.catch_warnings():
        warnings.filterwarnings("ignore", ".*found in sys.modules", RuntimeWarning)
        runpy.run_module("experiments.resnet_cifar", run_name="__main__", alter_sys=True)
