"""The short form of `python -m experiments.tools.signals`, and consoles that die."""

import io
import os
import subprocess
import sys

from experiments.tools.console import standard_console
from experiments.tools.signals import Options, hit_all, table


def test_a_signal_to_all_processes_under_tee_loses_nothing(tmp_path, monkeypatch):
    # On one device a process is there sooner.
    monkeypatch.setenv("XLA_FLAGS", "")
    options = Options(("SIGINT",), ("tee",), ("evaluating", "saving"), (1,), steps=70)
    hits, differences = hit_all(options, tmp_path)
    assert differences == []
    assert [(hit.phase, hit.status, hit.lost, hit.traceback) for hit in hits] == [
        ("evaluating", 75, 0, ""),
        ("saving", 75, 0, ""),
    ]
    assert table(hits).row_count == 2


class Dead(io.StringIO):
    def write(self, text):
        raise BrokenPipeError

    def flush(self):
        raise OSError(28, "No space left on device")


def test_a_console_whose_reader_has_gone_is_silent(monkeypatch):
    monkeypatch.setattr(sys, "stdout", Dead())
    console = standard_console()
    console.print("nobody hears it")
    with console.status("nor that"):
        console.print("or that")


def test_a_console_that_was_never_there(monkeypatch):
    monkeypatch.setattr(sys, "stdout", None)
    standard_console().print("nobody hears it")


def test_the_list_in_ascii(tmp_path):
    ascii_only = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONIOENCODING": "ascii"}
    words = [sys.executable, "-m", "experiments"]
    listed = subprocess.run(words, env=os.environ | ascii_only, capture_output=True, check=True)
    assert b"resnet_cifar" in listed.stdout and listed.stdout.isascii()
    with open("/dev/full", "w") as full:
        silent = subprocess.run(words, stdout=full, stderr=subprocess.PIPE, text=True, check=True)
    told = "standard output cannot be written (No space left on device)"
    assert silent.stderr.count(told) == 1 and "Traceback" not in silent.stderr
