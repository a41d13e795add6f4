"""The manifest of a directory: a digest of each of its files, written last."""

import hashlib
from pathlib import Path

from cnn_jax.durable import DamagedFile, read_record, sync, write_record

NAME = "manifest.json"


def write_manifest(directory: Path) -> None:
    """Sync all files below a directory to disk, then write their digests."""
    digests = {}
    for path in sorted(directory.rglob("*")):
        sync(path)
        if path.is_file():
            digests[path.relative_to(directory).as_posix()] = _digest(path)
    sync(directory)
    write_record(directory / NAME, {"files": digests})


def check_manifest(directory: Path) -> None:
    """Compare a directory with its manifest; files that the manifest does not name are ignored.

    Raises:
        DamagedFile: the manifest or a file is missing or has changed.
    """
    for name, digest in _files(directory).items():
        _check(directory / name, digest)


def read_listed(directory: Path, name: str) -> str | None:
    """The text of a file that the manifest names; None: it names no such file.

    Raises:
        DamagedFile: the manifest or the file is missing or has changed.
    """
    digest = _files(directory).get(name)
    if digest is None:
        return None
    _check(directory / name, digest)
    return (directory / name).read_bytes().decode()


def _files(directory: Path) -> dict[str, str]:
    path = directory / NAME
    if not path.exists():
        raise DamagedFile(f"it has no {NAME}: it is damaged, or of an older version")
    files = read_record(path).get("files")
    if not isinstance(files, dict):
        raise DamagedFile(f"{path} lists no files")
    return files


def _check(path: Path, digest: str) -> None:
    if path.exists() and not path.is_file():
        raise DamagedFile(f"cannot read {path}: not a regular file")
    try:
        now = _digest(path)
    except OSError as error:
        raise DamagedFile(f"cannot read {path}: {error.strerror}") from None
    if now != digest:
        raise DamagedFile(f"{path} has changed since it was written")


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
