"""Files that survive a crash: written beside the old ones, synced to disk, then renamed."""

import errno
import hashlib
import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from itertools import count
from pathlib import Path
from typing import Any

from cnn_jax.errors import UserError

DIGEST = "sha256"
"""Entry of a record that holds the digest of the others."""


class DamagedFile(UserError):
    """A file that cannot be read, or is not as it was written."""


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """A path to write to; at the end the file is synced and takes the place of ``path``.

    If the process is killed or the machine fails, ``path`` is the old file or the new one. A
    directory of that name is set aside.
    """
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
    try:
        yield partial
        sync(partial)
        if path.is_dir():
            set_aside(path)
        os.replace(partial, path)
        sync(path.parent)
    except OSError as error:
        # A write to an open file does not name it. Without a number, an error has its own text.
        if error.filename is None and error.errno is not None:
            error.filename = str(path)
        raise
    finally:
        partial.unlink(missing_ok=True)


def write_text(path: Path, text: str) -> None:
    """Write a text file, as `replacing` does."""
    with replacing(path) as partial:
        partial.write_text(text, encoding="utf-8", newline="")


def sync(path: Path) -> None:
    """Wait until a file's content, or the names in a directory, are on disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    except OSError as error:
        # Some network file systems cannot sync directories.
        if error.errno not in (errno.EINVAL, errno.ENOTSUP):
            raise
    finally:
        os.close(descriptor)


def read_file(path: Path) -> bytes:
    """The content of a regular file: reading a pipe or a device could take for ever.

    Raises:
        OSError: it cannot be read, or is no regular file.
    """
    if path.exists() and not path.is_file():
        raise OSError(errno.EINVAL, "not a regular file", str(path))
    return path.read_bytes()


def set_aside(path: Path) -> Path:
    """Rename a damaged file or directory to ``<name>.damaged``, numbered if that is there."""
    names = (f"{path.name}.damaged" + (f"-{n}" if n > 1 else "") for n in count(1))
    target = next(one for one in map(path.with_name, names) if not one.exists())
    path.rename(target)
    sync(path.parent)
    return target


def write_record(path: Path, value: Mapping[str, Any]) -> None:
    """Write a JSON object that holds its own digest."""
    entries = {name: entry for name, entry in value.items() if name != DIGEST}
    write_text(path, json.dumps(entries | {DIGEST: _digest(entries)}, indent=2) + "\n")


def read_record(path: Path) -> dict[str, Any]:
    """The entries of a JSON object without its digest; one of an older version has none.

    Raises:
        DamagedFile: it is not there, is no JSON object, or has changed since it was written.
    """
    try:
        value = json.loads(read_file(path).decode())
    except (OSError, ValueError, RecursionError) as error:
        raise DamagedFile(f"cannot read {path}: {error}") from None
    if not isinstance(value, dict):
        raise DamagedFile(f"cannot read {path}: expected a JSON object, got {type(value).__name__}")
    digest = value.pop(DIGEST, None)
    if digest is not None and digest != _digest(value):
        raise DamagedFile(
            f"{path} has changed since it was written: its entries do not have the digest that "
            f"its entry {DIGEST!r} gives"
        )
    return value


def _digest(entries: Mapping[str, Any]) -> str:
    # As it comes back from JSON, where all keys are strings.
    text = json.dumps(json.loads(json.dumps(entries)), sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()


def write_kept_record(path: Path, value: Mapping[str, Any]) -> None:
    """Write a record twice: ``path`` and a copy beside it, from which it can be mended."""
    write_record(path, value)
    write_record(copy_of(path), value)


def read_kept_record(path: Path) -> tuple[dict[str, Any], str]:
    """A record, from its copy if it is damaged, and what is wrong with it ("": nothing).

    Raises:
        DamagedFile: neither can be read.
    """
    try:
        return read_record(path), ""
    except DamagedFile as damage:
        try:
            return read_record(copy_of(path)), str(damage)
        except DamagedFile:
            raise damage from None


def copy_of(path: Path) -> Path:
    """Where the copy of a record is kept."""
    return path.with_name(f"{path.stem}.copy{path.suffix}")
