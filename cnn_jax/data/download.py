"""Downloads official archives: short time-outs, resumable, with progress and a checked sha256."""

import hashlib
import os
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

from cnn_jax.data.dataset import DataError

TIMEOUTS = (3.0, 10.0)
"""Seconds to connect, and to wait for the next bytes."""
PROBE_SECONDS = 4.0
"""In this time it is decided whether any mirror can be reached, name look-up included."""
BLOCK = 1 << 14
"""Bytes; the rest of a block is lost where a connection ends."""


@dataclass(frozen=True)
class Archive:
    """A file as it was published: the mirrors that hold it, its bytes and their sha256."""

    filename: str
    size: int
    sha256: str
    mirrors: tuple[str, ...]
    """Addresses of folders, with a slash at the end; the official one first."""


def reachable_mirrors(archive: Archive, seconds: float = PROBE_SECONDS) -> tuple[str, ...]:
    """The mirrors that answer with a file of the right size, within `seconds` all together.

    Every mirror is asked in a thread of its own, as looking up a name can hang for minutes and
    knows no time-out. The first good answer ends the waiting.
    """
    good: list[str] = []
    open_questions = len(archive.mirrors)
    answered = threading.Condition()

    def ask(mirror: str) -> None:
        nonlocal open_questions
        try:
            answer = requests.head(
                mirror + archive.filename,
                timeout=(seconds, seconds),
                allow_redirects=True,
                headers={"Accept-Encoding": "identity"},
            )
            length = answer.headers.get("Content-Length", str(archive.size))
            there = answer.status_code == 200 and length == str(archive.size)
        except (requests.RequestException, ValueError):
            there = False
        with answered:
            open_questions -= 1
            if there:
                good.append(mirror)
            answered.notify()

    for mirror in archive.mirrors:
        threading.Thread(target=ask, args=(mirror,), daemon=True).start()
    with answered:
        answered.wait_for(lambda: good or not open_questions, timeout=seconds)
        return tuple(good)


def download(archive: Archive, folder: Path, mirrors: Sequence[str] = ()) -> Path:
    """Brings an archive into a folder and returns its path; checks it if it is already there.

    What has arrived is kept in "<filename>.part", so that a later call continues there. Every
    mirror is tried in turn, and again as long as it brings more. Raises DataError where none of
    them gives the whole, unaltered file.
    """
    target = folder / archive.filename
    if is_complete(archive, folder):
        return target
    part = folder / f"{archive.filename}.part"
    failures = []
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for mirror in mirrors or archive.mirrors:
            failure = _fetch(mirror + archive.filename, archive, part)
            if not failure:
                os.replace(part, target)
                return target
            failures.append(f"{mirror}: {failure}")
    except OSError as error:
        raise DataError(f"cannot write to {folder}: {error.strerror or error}") from error
    message = f"the download of {archive.filename} failed.\n  " + "\n  ".join(failures)
    if _size(part):
        message += (
            f"\nWhat has arrived is kept in {part} ({_size(part):,} of {archive.size:,} bytes):"
            " the same command continues there."
        )
    raise DataError(message)


def is_complete(archive: Archive, folder: Path) -> bool:
    """Whether the whole, unaltered archive lies in a folder."""
    target = folder / archive.filename
    return _size(target) == archive.size and _sha256(target) == archive.sha256


def _fetch(url: str, archive: Archive, part: Path) -> str:
    """Downloads or continues; returns "" or what went wrong. Raises OSError from writing."""
    failure = ""
    if _size(part) > archive.size:
        part.unlink()
    while (before := _size(part)) < archive.size:
        failure = _receive(url, archive, part)
        if failure and _size(part) <= before:
            return failure
    actual = _sha256(part)
    if _size(part) == archive.size and actual == archive.sha256:
        return ""
    part.unlink()
    return f"not the published file, and deleted: its sha256 is {actual}, not {archive.sha256}"


def _receive(url: str, archive: Archive, part: Path) -> str:
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
                bar = progress.add_task(archive.filename, total=archive.size, completed=size)
                for block in answer.iter_content(BLOCK):
                    file.write(block)
                    size += len(block)
                    progress.update(bar, completed=size)
                    if size > archive.size:
                        break
    except requests.RequestException as error:
        return f"broken off at {_size(part):,} of {archive.size:,} bytes: {_reason(error)}"
    return "" if size >= archive.size else f"ended at {size:,} of {archive.size:,} bytes"


def _size(path: Path) -> int:
    return path.stat().st_size if path.is_file() else 0


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _reason(error: requests.RequestException) -> str:
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
