"""A lock on a run's directory: one process, or one job of several, writes there."""

import errno
import fcntl
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from cnn_jax.errors import UserError
from cnn_jax.training.distributed import is_primary

LOCK = "lock"
"""The file in the directory while a process holds it."""
_NO_LOCKS = (errno.ENOLCK, errno.ENOSYS, errno.ENOTSUP, errno.EOPNOTSUPP)
_held: set[Path] = set()


class DirectoryInUse(UserError):
    """Another process writes to the directory."""


@contextmanager
def locked(directory: Path) -> Iterator[None]:
    """Hold the lock of a directory, which is made; the first process of a job holds it for all.

    It is the operating system's (flock), so it is gone when the process has died in any way. NFS
    on Linux keeps it for all hosts; a mount without locks, as some of Lustre, leaves a run without
    one. A process may take a lock that it holds again.

    Raises:
        DirectoryInUse: another process holds it; the message names it and its host.
        UserError: the directory cannot be written.
    """
    place = directory.resolve()
    if not is_primary() or place in _held:
        yield
        return
    try:
        directory.mkdir(parents=True, exist_ok=True)
        file = _take(directory)
    except OSError as error:
        raise UserError(
            f"cannot write to the run directory {directory}: {error.strerror}; "
            "give another one with --workdir"
        ) from None
    _held.add(place)
    try:
        yield
    finally:
        _held.remove(place)
        # While it is held: whoever opened the file before finds out that it is gone.
        (directory / LOCK).unlink(missing_ok=True)
        file.close()


def _take(directory: Path) -> IO[str]:
    path = directory / LOCK
    while True:
        file = path.open("a+")
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            file.seek(0)
            holder = file.read() or "another process"
            file.close()
            raise DirectoryInUse(
                f"{directory} is in use by {holder}; wait until it has ended or stop it, or give "
                "another --name"
            ) from None
        except OSError as error:
            if error.errno not in _NO_LOCKS:
                file.close()
                raise
        if path.exists() and os.path.samestat(os.fstat(file.fileno()), path.stat()):
            break
        file.close()  # Its holder has removed it meanwhile.
    file.truncate(0)
    file.write(f"process {os.getpid()} on {socket.gethostname()}")
    file.flush()
    return file
