"""Keep compiled programs in the user's cache directory, without truncated entries.

JAX writes an entry directly to its final name and never replaces it. A process that is killed
meanwhile leaves a truncated entry, and each later run warns about it and compiles again (with JAX
0.10 and 0.12, and also if ``jax_compilation_cache_max_size`` is set).
"""

import os
from pathlib import Path

import jax
from jax._src.compilation_cache import decompress_executable

STAMP = "checked"
"""A file whose modification time tells which entries have been checked."""


def keep_compiled_programs() -> None:
    """Turn on JAX's persistent compilation cache, unless the environment names one.

    Keys do not include the addresses of functions that partition a call over devices, because they
    differ between processes. Only `layers.cpu.onednn` has such calls, and it describes them beside
    the address.
    """
    jax.config.update("jax_remove_custom_partitioning_ptr_from_cache_key", True)
    if os.environ.get("JAX_COMPILATION_CACHE_DIR"):
        return
    user_cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    directory = user_cache / "cnn_jax" / "xla"
    try:
        drop_truncated(directory)
    except OSError:
        return  # the directory is not writable: run without a cache
    jax.config.update("jax_compilation_cache_dir", str(directory))
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)


def drop_truncated(directory: Path) -> list[Path]:
    """Remove and return the entries that a killed process left unfinished.

    Only entries written since the last check are read. An entry that another process is writing
    may be removed too; it is then compiled again.
    """
    directory.mkdir(parents=True, exist_ok=True)
    stamp = directory / STAMP
    looked = stamp.stat().st_mtime_ns if stamp.exists() else 0
    # Before the check, so that entries written meanwhile are checked next time.
    stamp.touch()
    dropped = []
    for entry in directory.glob("*-cache"):
        try:
            if entry.stat().st_mtime_ns >= looked and not _is_whole(entry.read_bytes()):
                entry.unlink()
                dropped.append(entry)
        except FileNotFoundError:
            pass  # another process has removed it
    return dropped


def _is_whole(entry: bytes) -> bool:
    try:
        decompress_executable(entry)
    except Exception:  # an error of zlib or of one of three zstd packages
        return False
    return True
