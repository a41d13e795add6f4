"""Downloads published files: short time-outs, resumable, with progress and a checked sha256."""

import hashlib
import os
import queue
import re
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import requests
from rich.console import Console
from rich.progress import (
    BarColumn,
    DownloadColumn,
    Progress,
    TextColumn,
    TimeRemainingColumn,
    TransferSpeedColumn,
)

from cnn_jax.errors import UserError

TIMEOUTS = (3.0, 10.0)
"""Seconds to connect, and to wait for the next bytes."""
PROBE_SECONDS = 4.0
"""In this time it is decided whether any mirror can be reached, name look-up included."""
BLOCK = 1 << 14
"""Bytes; the rest of a block is lost where a connection ends."""


class DownloadError(UserError):
    """A file did not arrive whole and unaltered; the message says why, and what can be done."""


@dataclass(frozen=True)
class PublishedFile:
    """A file as it was published: the mirrors that hold it, its bytes and their sha256."""

    filename: str
    size: int
    sha256: str
    """Hexadecimal; the first digits where no more are published."""
    mirrors: tuple[str, ...]
    """Addresses of folders, with a slash at the end; the official one first."""


def reachable_mirrors(published: PublishedFile, seconds: float = PROBE_SECONDS) -> tuple[str, ...]:
    """The mirrors that answer with a file of the right size, within `seconds` all together.

    Every mirror is asked in a thread of its own, as looking up a name can hang for minutes and
    knows no time-out. The first good answer ends the waiting.
    """
    good: list[str] = []
    open_questions = len(published.mirrors)
    answered = threading.Condition()

    def ask(mirror: str) -> None:
        nonlocal open_questions
        try:
            answer = _head(mirror + published.filename, seconds)
            length = answer.headers.get("Content-Length", str(published.size))
            there = answer.status_code == 200 and length == str(published.size)
        except (requests.RequestException, ValueError):
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
    """The size in bytes that a server gives for a file; raises DownloadError if it gives none."""
    answers: queue.SimpleQueue[int | str] = queue.SimpleQueue()

    def ask() -> None:
        try:
            answer = _head(url, seconds)
            length = answer.headers.get("Content-Length", "")
            if answer.status_code != 200:
                answers.put(f"the server answers {answer.status_code} {answer.reason}")
            else:
                answers.put(int(length) if length.isdecimal() else "the server gives no size")
        except (requests.RequestException, ValueError) as error:
            answers.put(_reason(error))

    # In a thread, for the look-up of names.
    threading.Thread(target=ask, daemon=True).start()
    try:
        size = answers.get(timeout=seconds)
    except queue.Empty:
        size = "time-out"
    if isinstance(size, str):
        raise DownloadError(f"{url} is out of reach: {size}")
    return size


def _head(url: str, seconds: float) -> requests.Response:
    return requests.head(
        url,
        timeout=(seconds, seconds),
        allow_redirects=True,
        headers={"Accept-Encoding": "identity"},
    )


def download(published: PublishedFile, folder: Path, mirrors: Sequence[str] = ()) -> Path:
    """Brings a file into a folder and returns its path; checks it if it is already there.

    What has arrived is kept in "<filename>.part", so that a later call continues there. Every
    mirror is tried in turn, and again as long as it brings more. Raises DownloadError where none of
    them gives the whole, unaltered file.
    """
    target = folder / published.filename
    if is_complete(published, folder):
        return target
    part = folder / f"{published.filename}.part"
    failures = []
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for mirror in mirrors or published.mirrors:
            failure = _fetch(mirror + published.filename, published, part)
            if not failure:
                os.replace(part, target)
                return target
            failures.append(f"{mirror}: {failure}")
    except OSError as error:
        raise DownloadError(f"cannot write to {folder}: {error.strerror or error}") from error
    message = f"the download of {published.filename} failed.\n  " + "\n  ".join(failures)
    if _size(part):
        message += (
            f"\nWhat has arrived is kept in {part} ({_size(part):,} of {published.size:,} bytes):"
            " the same command continues there."
        )
    raise DownloadError(message)


def is_complete(published: PublishedFile, folder: Path) -> bool:
    """Whether the whole, unaltered file lies in a folder."""
    target = folder / published.filename
    return _size(target) == published.size and sha256(target).startswith(published.sha256)


def _fetch(url: str, published: PublishedFile, part: Path) -> str:
    """Downloads or continues; returns "" or what went wrong. Raises OSError from writing."""
    failure = ""
    if _size(part) > published.size:
        part.unlink()
    while (before := _size(part)) < published.size:
        failure = _receive(url, published, part)
        if failure and _size(part) <= before:
            return failure
    actual = sha256(part)
    if _size(part) == published.size and actual.startswith(published.sha256):
        return ""
    part.unlink()
    return f"not the published file, and deleted: its sha256 is {actual}, not {published.sha256}"


def _receive(url: str, published: PublishedFile, part: Path) -> str:
    """One request for what is missing; returns "" or what went wrong."""
    size = _size(part)
    headers = {"Accept-Encoding": "identity"} | ({"Range": f"bytes={size}-"} if size else {})
    try:
        with requests.get(url, headers=headers, timeout=TIMEOUTS, stream=True) as answer:
            if answer.status_code == 200:
                size = 0  # the whole file, also from servers that know no ranges
            elif answer.status_code != 206 or not answer.headers.get(
                "Content-Range", ""
            ).startswith(f"bytes {size}-"):
                return f"the server answers {answer.status_code} {answer.reason}"
            with _progress() as progress, part.open("ab" if size else "wb") as file:
                bar = progress.add_task(published.filename, total=published.size, completed=size)
                for block in answer.iter_content(BLOCK):
                    file.write(block)
                    size += len(block)
                    progress.update(bar, completed=size)
                    if size > published.size:
                        break
    except requests.RequestException as error:
        return f"broken off at {_size(part):,} of {published.size:,} bytes: {_reason(error)}"
    return "" if size >= published.size else f"ended at {size:,} of {published.size:,} bytes"


def _size(path: Path) -> int:
    return path.stat().st_size if path.is_file() else 0


def sha256(path: Path) -> str:
    """The hexadecimal sha256 of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _reason(error: Exception) -> str:
    if isinstance(error, requests.Timeout):
        return "time-out"
    if isinstance(error, requests.exceptions.ChunkedEncodingError):
        return "the connection ended"
    # urllib3 wraps the cause several times; its last sentence says what it was.
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
