"""Programs whose command line is parsed, and that then stop."""

import runpy
import sys
import warnings
from pathlib import Path

import pytest
import tyro


class Parsed(BaseException):
    """The command line was parsed; nothing has run."""


@pytest.fixture
def only_parse(monkeypatch):
    """Let a program raise `Parsed` in place of its work."""
    parse = tyro.cli

    def cli(*arguments, return_unknown_args=False, **options):
        parsed = parse(*arguments, return_unknown_args=return_unknown_args, **options)
        if return_unknown_args:  # a first look at some flags
            return parsed
        raise Parsed

    monkeypatch.setattr(tyro, "cli", cli)


def run_program(program, words, monkeypatch):
    """Run a module as ``python -m`` does, or a file, in this process."""
    monkeypatch.setattr(sys, "argv", [str(program), *words])
    with warnings.catch_warnings():
        # runpy says that the module has been imported before, by another test.
        warnings.filterwarnings("ignore", ".*found in sys.modules", RuntimeWarning)
        if isinstance(program, Path):
            runpy.run_path(str(program), run_name="__main__")
        else:
            runpy.run_module(program, run_name="__main__", alter_sys=True)
