"""Limits of time and memory for tests of hostile input."""

import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType


@contextmanager
def within(seconds: float) -> Iterator[None]:
    """Raise TimeoutError after some seconds."""

    def stop(number: int, frame: FrameType | None) -> None:
        raise TimeoutError(f"longer than {seconds} seconds")

    before = signal.signal(signal.SIGALRM, stop)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def run_limited(code: str, *arguments: str, gigabytes: float, seconds: float = 60) -> str:
    """What a Python program prints whose address space is limited."""
    size = int(gigabytes * 2**30)
    limit = f"import resource; resource.setrlimit(resource.RLIMIT_AS, ({size}, {size}))\n"
    result = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", limit + code, *arguments],
        capture_output=True,
        text=True,
        timeout=seconds,
    )
    assert not result.returncode, result.stderr
    return result.stdout
