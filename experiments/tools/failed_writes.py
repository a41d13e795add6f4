"""A checkpoint that cannot be written is told once: by the exception that ends the run."""

import logging
import sys
from collections.abc import Callable
from typing import Any


def tell_once() -> None:
    """Leave out what Orbax and TensorStore print of a failed write besides raising it.

    Orbax and asyncio log the exceptions of threads, each with a traceback. TensorStore's threads
    find the event loop of the write closed, and its coroutines complain when Python ends.
    """
    loggers = [logging.getLogger(name) for name in ("absl", "asyncio")]
    if _has_no_traceback in loggers[0].filters:
        return
    for logger in loggers:
        logger.addFilter(_has_no_traceback)
    sys.excepthook = _without(sys.excepthook, lambda error: error[1])
    sys.unraisablehook = _without(sys.unraisablehook, lambda error: error[0].exc_value)


def _has_no_traceback(record: logging.LogRecord) -> bool:
    return not record.exc_info


def _without(hook: Callable[..., Any], exception: Callable[[Any], Any]) -> Callable[..., Any]:
    def told(*error: Any) -> None:
        text = str(exception(error))
        if text != "Event loop is closed" and "Python is likely shutting down" not in text:
            hook(*error)

    return told
