"""Signals that ask a run to save its state and stop."""

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import jax
import numpy as np
from jax.experimental import multihost_utils


@contextmanager
def stop_signals() -> Iterator[Callable[[int], bool]]:
    """SIGTERM and the first Ctrl-C ask for a save and a stop; the second Ctrl-C stops at once."""
    requested = threading.Event()

    def request(number: int, _: Any) -> None:
        if requested.is_set() and number == signal.SIGINT:
            raise KeyboardInterrupt
        requested.set()

    def stop_requested(step: int) -> bool:
        if jax.process_count() > 1:
            # All processes stop together when one is asked. JAX's own preemption notifier does
            # not receive SIGTERM, because the handler above does.
            return bool(np.any(multihost_utils.process_allgather(np.bool_(requested.is_set()))))
        return requested.is_set()

    if threading.current_thread() is not threading.main_thread():
        yield stop_requested
        return
    before = {n: signal.signal(n, request) for n in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield stop_requested
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
