"""Sides that `test_bench.py` starts."""

import os
import signal
import time

from experiments.tools.bench.side import Missing


def counting(first: float = 0.0):
    """Return the number of steps so far."""
    print("what a library prints does not disturb the answers")
    done = first

    def run(n):
        nonlocal done
        done += n
        return [done]

    return run


def failing():
    def run(n):
        raise ValueError(f"no {n} steps today")

    return run


def missing():
    raise Missing("wings are not installed: pip install wings")


def dying():
    def run(n):
        os.write(2, b"the last words\n")
        os.kill(os.getpid(), signal.SIGKILL)

    return run


def hanging():
    def run(n):
        time.sleep(60)

    return run
