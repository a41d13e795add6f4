"""Download published files with short time-outs, resumption, progress and a sha256 check."""

import hashlib
import os
import queue
import re
import threading
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import (
    BarColumn,
    DownloadColumn,
    Progress,
    TextColumn,
    TimeRemainingColumn,
    TransferSpeedColumn,
)

from cnn_jax.durable import set_aside
from cnn_jax.errors import UserError
from cnn_jax.extras import extra

TIMEOUTS = (3.0, 10.0)
"""Seconds to connect, and to wait for the next bytes."""
PROBE_SECONDS = 4.0
"""Seconds to find out whether a server can be reached, including the DNS lookup."""
BLOCK = 1 << 14
"""Bytes per block. An incomplete block is lost when the connection ends."""
BLOCK_SECONDS = 20.0
"""Seconds for a block. A slower server is given up, also one that sends a byte now and then."""
WAITING = 16
"""Blocks that are received ahead of the disk."""


class DownloadError(UserError):
    """A download failed; the message gives the reason and the way out."""


@dataclass(frozen=True)
class PublishedFile:
    """A published file: its mirrors, size and sha256."""

    filename: str
    size: int
    """Size in bytes."""
    sha256: str
    """Hexadecimal digits, or only the first ones if no more are published."""
    mirrors: tuple[str, ...]
    """Addresses of folders with a trailing slash, the official one first."""


def reachable_mirrors(published: PublishedFile, seconds: float = PROBE_SECONDS) -> tuple[str, ...]:
    """The mirrors that answer within `seconds` with a file of the right size.

    Each mirror is asked in its own thread, because a DNS lookup can hang for minutes and has no
    time-out. The function returns at the first good answer.
    """
    _requests()  # if it is missing, the caller is told, not the threads
    good: list[str] = []
    open_questions = len(published.mirrors)
    answered = threading.Condition()

    def ask(mirror: str) -> None:
        nonlocal open_questions
        try:
            answer = _head(mirror + published.filename, seconds)
            length = answer.headers.get("Content-Length", str(published.size))
            there = answer.status_code == 200 and length == str(published.size)
        except (OSError, ValueError):
            there = False
        with answered:
            open_questions -= 1
            if there:
                good.append(mirror)
            answered.notify()

    for mirror in published.mirrors:
        threading.Thread(target=ask, args=(mirror,), daemon=True).start()
    with answered:
        answered.wait_for(lambda: good or not open_questions, timeout=seconds)
        return tuple(good)


def published_size(url: str, seconds: float = PROBE_SECONDS) -> int:
    """The size of a file in bytes as the server states it.

    Raises:
        DownloadError: the server does not state a size.
    """
    _requests()  # if it is missing, the caller is told, not the thread
    try:
        (answer,) = _in_time((_head(url, seconds) for _ in range(1)), seconds)
    except (OSError, ValueError) as error:
        raise DownloadError(f"{url} is out of reach: {_reason(error)}") from error
    if answer.status_code != 200:
        reason = f"the server answers {answer.status_code} {answer.reason}"
        raise DownloadError(f"{url} is out of reach: {reason}")
    length = answer.headers.get("Content-Length", "")
    if not length.isdecimal():
        raise DownloadError(f"{url} is out of reach: the server gives no size")
    return int(length)


def _in_time(items: Iterator[Any], seconds: float) -> Iterator[Any]:
    """The items of an iterator that waits for a server, each within some seconds.

    A thread waits for them: a DNS lookup has no time-out, and one for the next bytes never comes
    if a server sends a byte now and then.

    Raises:
        TimeoutError: an item takes longer.
        Exception: of the iterator.
    """
    received: queue.Queue[Any] = queue.Queue(WAITING)
    end = object()

    def receive() -> None:
        try:
            for item in items:
                received.put(item)
            received.put(end)
        except Exception as error:
            received.put(error)

    threading.Thread(target=receive, daemon=True).start()
    while True:
        try:
            item = received.get(timeout=seconds)
        except queue.Empty:
            raise TimeoutError from None
        if item is end:
            return
        if isinstance(item, Exception):
            raise item
        yield item


def _requests() -> Any:
    """The module requests, imported only when something is downloaded. Its errors are OSErrors."""
    with extra("download", "a download"):
        import requests
    return requests


def _head(url: str, seconds: float) -> Any:
    return _requests().head(
        url,
        timeout=(seconds, seconds),
        allow_redirects=True,
        headers={"Accept-Encoding": "identity"},
    )


def download(
    published: PublishedFile,
    folder: Path,
    mirrors: Sequence[str] = (),
    *,
    headers: Mapping[str, str] | None = None,
) -> Path:
    """Download a file to a folder and return its path.

    A file of that name that is not the published one is renamed to "<filename>.damaged".
    Received bytes are kept in "<filename>.part", where a later call continues. The mirrors are
    tried in order, each as long as it delivers more bytes. `headers` are added to the requests.

    Raises:
        DownloadError: no mirror delivers the whole, unaltered file at a rate of `BLOCK` bytes in
            `BLOCK_SECONDS`, or writing fails.
    """
    target = folder / published.filename
    if is_complete(published, folder):
        return target
    part = folder / f"{published.filename}.part"
    if part.exists() and not part.is_file():
        raise DownloadError(f"{part} is not a regular file: remove it")
    failures = []
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for mirror in mirrors or published.mirrors:
            failure = _fetch(mirror + published.filename, published, part, headers or {})
            if not failure:
                if target.exists():
                    set_aside(target)
                os.replace(part, target)
                return target
            failures.append(f"{mirror}: {failure}")
    except OSError as error:
        raise DownloadError(f"cannot write to {folder}: {error.strerror or error}") from error
    message = f"the download of {published.filename} failed.\n  " + "\n  ".join(failures)
    if _size(part):
        message += (
            f"\nReceived bytes are kept in {part} ({_size(part):,} of {published.size:,} bytes):"
            " the same command continues there."
        )
    raise DownloadError(message)


def is_complete(published: PublishedFile, folder: Path) -> bool:
    """Whether a folder contains the whole, unaltered file."""
    target = folder / published.filename
    return _size(target) == published.size and sha256(target).startswith(published.sha256)


def _fetch(url: str, published: PublishedFile, part: Path, headers: Mapping[str, str]) -> str:
    """Download or continue. Returns the reason of a failure, or ""."""
    failure = ""
    if _size(part) > published.size:
        part.unlink()
    while (before := _size(part)) < published.size:
        failure = _receive(url, published, part, headers)
        if failure and _size(part) <= before:
            return failure
    actual = sha256(part)
    if _size(part) == published.size and actual.startswith(published.sha256):
        return ""
    part.unlink()
    return f"not the published file, and deleted: its sha256 is {actual}, not {published.sha256}"


def _receive(url: str, published: PublishedFile, part: Path, headers: Mapping[str, str]) -> str:
    """Request the missing bytes once. Returns the reason of a failure, or ""."""
    size = _size(part)
    wanted = {"Range": f"bytes={size}-"} if size else {}
    wanted = {**headers, "Accept-Encoding": "identity", **wanted}
    received = _in_time(_answer_and_blocks(url, wanted), BLOCK_SECONDS)
    try:
        answer = next(received)
        if answer.status_code == 200:
            size = 0  # the whole file: the server does not support ranges
        elif answer.status_code != 206 or not answer.headers.get("Content-Range", "").startswith(
            f"bytes {size}-"
        ):
            return f"the server answers {answer.status_code} {answer.reason}"
        with _progress() as progress, part.open("ab" if size else "wb") as file:
            bar = progress.add_task(published.filename, total=published.size, completed=size)
            for block in received:
                file.write(block)
                size += len(block)
                progress.update(bar, completed=size)
                if size > published.size:
                    break
    except TimeoutError:
        return f"slower than {BLOCK:,} bytes in {BLOCK_SECONDS:g} seconds"
    except _requests().RequestException as error:
        return f"broken off at {_size(part):,} of {published.size:,} bytes: {_reason(error)}"
    return "" if size >= published.size else f"ended at {size:,} of {published.size:,} bytes"


def _answer_and_blocks(url: str, headers: dict[str, str]) -> Iterator[Any]:
    with _requests().get(url, headers=headers, timeout=TIMEOUTS, stream=True) as answer:
        yield answer
        yield from answer.iter_content(BLOCK)


def _size(path: Path) -> int:
    return path.stat().st_size if path.is_file() else 0


def sha256(path: Path) -> str:
    """The hexadecimal sha256 of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _reason(error: Exception) -> str:
    if isinstance(error, TimeoutError | _requests().Timeout):
        return "time-out"
    if isinstance(error, _requests().exceptions.ChunkedEncodingError):
        return "the connection ended"
    # urllib3 wraps the cause several times; the last part of the message names it.
    return re.sub(r"[()'\"]+$", "", str(error).rsplit(": ", 1)[-1]) or type(error).__name__


def _progress() -> Progress:
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        DownloadColumn(),
        TransferSpeedColumn(),
        TimeRemainingColumn(),
        console=Console(stderr=True),
    )
