"""Signals that ask a run to save its state and stop."""

import os
import signal
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from typing import Any, Literal

import jax
import numpy as np
from jax.experimental import multihost_utils

from cnn_jax.data.stream import STOP_SIGNALS

INTERRUPTED = 75
"""Exit status of a process that was asked to stop and saved its state: run it again to go on."""
GRACE = 5.0
"""Seconds until a process that has nothing to save ends, though Python cannot react."""

Reaction = Literal["end", "raise", "note"]
"""What a stop signal does. "end": raises `Interrupted`, and ends the process if that takes longer
than `GRACE`, because there is nothing to save. "raise": raises `Interrupted`, and who catches it
saves. "note": is only noted, and asked for later."""


class Interrupted(BaseException):
    """The run was asked to stop; its state has been saved.

    Like KeyboardInterrupt it is no Exception: code that mends failures must let it through.
    """


class _Request:
    """What the signal handler of this process knows."""

    number = 0
    """The first stop signal; 0: there was none."""
    reaction: Reaction = "note"
    installed = False
    left = threading.Event()
    """Ends the watch of the last stop."""


def _handle(number: int, _: Any) -> None:
    # Only the first one raises, so that no later one breaks a save or a clean-up.
    if not _Request.number:
        _Request.number = number
        _react()


def _react() -> None:
    if _Request.number and _Request.reaction != "note":
        name = signal.Signals(_Request.number).name
        raise Interrupted(f"stopped by {name}; what was trained is saved")


def _in_main_thread() -> bool:
    return threading.current_thread() is threading.main_thread()


@contextmanager
def reacting(reaction: Reaction) -> Iterator[None]:
    """Let stop signals do something else inside of it; an earlier one does it at once.

    Processes of one job stop together, so in those "raise" is as "note".
    """
    if not _in_main_thread() or not _Request.installed:
        yield
        return
    before = _Request.reaction
    together = reaction == "raise" and jax.process_count() > 1
    _Request.reaction = "note" if together else reaction
    try:
        _react()
        yield
    finally:
        _Request.reaction = before


def _stop_requested(step: int) -> bool:
    if jax.process_count() > 1:
        # All processes stop together when one is asked. JAX's own preemption notifier does not
        # receive SIGTERM, because our handler does.
        return bool(np.any(multihost_utils.process_allgather(np.bool_(_Request.number != 0))))
    return _Request.number != 0


@contextmanager
def stop_signals(
    reaction: Reaction = "note", *, ends_process: bool = False
) -> Iterator[Callable[[int], bool]]:
    """Let stop signals ask for a save and a stop; ones that are ignored (nohup) stay so.

    Args:
        reaction: what they do, where `reacting` says nothing else. A signal that was only noted
            until the end is raised there.
        ends_process: the process ends after it, if it was asked to stop. Later signals are then
            ignored, and what holds up its end, such as a stalled read, is given up.

    Yields:
        Whether the run was asked to stop. All processes of a job call it together.
    """
    if not _in_main_thread():
        yield lambda step: False
        return
    if _Request.installed:
        # jax.distributed may have put a handler of its own in the place of ours since.
        _install(n for n in STOP_SIGNALS if signal.getsignal(n) is _handle)
        with reacting(reaction):
            yield _stop_requested
        _react()
        return
    _Request.number, _Request.installed = 0, True
    taken = [n for n in STOP_SIGNALS if signal.getsignal(n) != signal.SIG_IGN]
    before = _install(taken)
    # A process that goes on after an earlier stop, as a notebook, is no longer to be ended for it.
    _Request.left.set()
    _Request.left = left = threading.Event()
    ends, fd_before = _start_watch(left)
    stays = False
    try:
        with reacting(reaction):
            try:
                yield _stop_requested
            finally:
                stays = ends_process and _Request.number != 0
        if _Request.number and not ends_process:
            raise Interrupted("stopped at the end of the training; the state is saved")
    finally:
        _Request.installed, _Request.reaction = False, "note"
        signal.set_wakeup_fd(fd_before)
        if not stays:
            left.set()
            for number, handler in before.items():
                signal.signal(number, handler or signal.SIG_DFL)
        os.close(ends)


def _install(numbers: Iterable[int]) -> dict[int, Any]:
    """Take signals; what handled them before, by number."""
    return {number: signal.signal(number, _handle) for number in numbers}


def _start_watch(left: threading.Event) -> tuple[int, int]:
    """Watch for signals that Python cannot handle in time; the pipe's end and the fd before.

    Python's handlers run between two lines of Python, and compiling a network is one line.
    """
    receives, sends = os.pipe()
    os.set_blocking(sends, False)
    threading.Thread(target=_watch, args=(receives, left), daemon=True).start()
    return sends, signal.set_wakeup_fd(sends, warn_on_full_buffer=False)


def _watch(receives: int, left: threading.Event) -> None:
    with os.fdopen(receives, "rb", buffering=0) as numbers:
        while (one := numbers.read(1)) and one[0] not in STOP_SIGNALS:
            pass
        wait = GRACE
        while one and not left.wait(wait):
            wait = 0.2
            if not threading.main_thread().is_alive():
                # Python waits for other threads at its exit, such as one whose read is stalled.
                time.sleep(GRACE)
                os._exit(INTERRUPTED)
            if _Request.installed and _Request.reaction == "end":
                with suppress(OSError, ValueError, AttributeError):
                    print(f"stopped by {signal.Signals(one[0]).name}", flush=True)
                os._exit(INTERRUPTED)
