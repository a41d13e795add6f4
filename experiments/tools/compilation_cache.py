"""Compiled programs are kept in the user's cache directory, whole ones only.

JAX writes an entry straight to its final name and never replaces one. A process that is killed
within that leaves a truncated entry, and every later run warns of it and compiles anew, for good
(with JAX 0.10 and 0.12, also where ``jax_compilation_cache_max_size`` is set).
"""

import os
from pathlib import Path

import jax
from jax._src.compilation_cache import decompress_executable

STAMP = "checked"
"""A file whose age tells which entries have been looked at."""


def keep_compiled_programs() -> None:
    """Turn JAX's persistent compilation cache on, unless the environment names one.

    Its keys leave out the addresses of functions that divide a call over several devices, with
    which no other process would find the program. Only `layers.cpu.onednn` has such calls here. It
    says beside the address what it stands for.
    """
    jax.config.update("jax_remove_custom_partitioning_ptr_from_cache_key", True)
    if os.environ.get("JAX_COMPILATION_CACHE_DIR"):
        return
    user_cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    directory = user_cache / "cnn_jax" / "xla"
    try:
        drop_truncated(directory)
    except OSError:
        return  # a cache that cannot be written is done without
    jax.config.update("jax_compilation_cache_dir", str(directory))
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)


def drop_truncated(directory: Path) -> list[Path]:
    """Remove the entries that a killed process left unfinished; they are returned.

    Only entries written since the last look are read. One that another process is writing just
    now may go as well: it will be compiled once more.
    """
    directory.mkdir(parents=True, exist_ok=True)
    stamp = directory / STAMP
    looked = stamp.stat().st_mtime_ns if stamp.exists() else 0
    # Before the look, so that what is written meanwhile is looked at next time.
    stamp.touch()
    dropped = []
    for entry in directory.glob("*-cache"):
        try:
            if entry.stat().st_mtime_ns >= looked and not _is_whole(entry.read_bytes()):
                entry.unlink()
                dropped.append(entry)
        except FileNotFoundError:
            pass  # another process has dropped it
    return dropped


def _is_whole(entry: bytes) -> bool:
    try:
        decompress_executable(entry)
    except Exception:  # zlib's, or that of one of three zstd packages
        return False
    return True
