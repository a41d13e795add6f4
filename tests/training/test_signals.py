"""What a stop signal does, and when."""

import os
import signal
import subprocess
import sys
import threading
import time

import pytest

from cnn_jax.data.stream import STOP_SIGNALS
from cnn_jax.training import Interrupted
from cnn_jax.training.signals import INTERRUPTED, reacting, stop_signals


@pytest.fixture(autouse=True)
def nothing_is_ignored():
    """Under nohup SIGHUP is ignored, which a run leaves as it is."""
    before = signal.signal(signal.SIGHUP, signal.SIG_DFL)
    yield
    signal.signal(signal.SIGHUP, before)


@pytest.mark.parametrize("number", STOP_SIGNALS)
def test_a_signal_is_noted_and_raised_at_the_end(number: int) -> None:
    before = signal.getsignal(number)
    with pytest.raises(Interrupted, match="at the end of the training"), stop_signals() as asked:
        assert not asked(0)
        signal.raise_signal(number)
        assert asked(0)
        signal.raise_signal(number)  # no more than the first one does
    assert signal.getsignal(number) == before


def test_a_signal_is_raised_where_that_loses_nothing_and_only_once() -> None:
    happened = []
    with pytest.raises(Interrupted, match="SIGUSR1"), stop_signals():
        try:
            with reacting("raise"):
                signal.raise_signal(signal.SIGUSR1)
                happened.append("went on")
        except Interrupted:
            signal.raise_signal(signal.SIGTERM)  # while it is saved
            happened.append("saved")
            raise
    assert happened == ["saved"]


def test_one_that_was_noted_is_raised_at_the_next_place() -> None:
    with pytest.raises(Interrupted, match="SIGHUP"), stop_signals("end"):
        with pytest.raises(Interrupted), stop_signals():  # the inner one is a training
            signal.raise_signal(signal.SIGHUP)
        with reacting("raise"):
            raise AssertionError("not reached")


def test_what_is_ignored_stays_so() -> None:
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)  # nohup
    try:
        with stop_signals() as asked:
            signal.raise_signal(signal.SIGHUP)
            assert not asked(0)
    finally:
        signal.signal(signal.SIGHUP, before)


def test_in_another_thread_there_are_no_signals() -> None:
    answers = []

    def run() -> None:
        with stop_signals() as asked, reacting("raise"):
            answers.append(asked(0))

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    assert answers == [False]


BUSY = """
import hashlib, sys, threading, time
from cnn_jax.training import signals
signals.GRACE = 0.2
with signals.stop_signals("end", ends_process=True):
    print("begins", flush=True)
    if sys.argv[1] == "compiling":
        hashlib.pbkdf2_hmac("sha256", b"", b"", 2**31 - 1)  # no line of Python for an hour
    threading.Thread(target=time.sleep, args=(3600,)).start()  # a read that is stalled
    time.sleep(3600)
"""


@pytest.mark.parametrize("doing", ["compiling", "reading"])
def test_a_process_ends_though_python_cannot(doing: str) -> None:
    words = [sys.executable, "-c", BUSY, doing]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    with subprocess.Popen(words, **pipes, text=True) as process:
        assert process.stdout.readline() == "begins\n"
        time.sleep(0.5)
        os.kill(process.pid, signal.SIGTERM)
        # The interpreter waits for the thread of a stalled read for as long as it takes.
        assert process.wait(60) == INTERRUPTED


GOES_ON = """
import signal, time
from cnn_jax.training import signals
signals.GRACE = 0.2
try:
    with signals.stop_signals("end", ends_process=True):
        signal.raise_signal(signal.SIGTERM)
except signals.Interrupted:
    pass
with signals.stop_signals("end", ends_process=True):
    time.sleep(1.0)
print("ended by itself")
"""


def test_a_process_that_goes_on_is_not_ended_for_an_earlier_signal() -> None:
    done = subprocess.run([sys.executable, "-c", GOES_ON], capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (0, "ended by itself\n"), done.stderr
