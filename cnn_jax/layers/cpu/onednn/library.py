"""Finds oneDNN, compiles our operators if necessary, loads and registers them."""

import contextlib
import ctypes
import functools
import hashlib
import importlib.metadata
import logging
import os
import platform
import shlex
import shutil
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from contextvars import ContextVar
from pathlib import Path
from typing import Any

import jax
import jaxlib

LIBRARY, HEADERS = "onednn-cpu-gomp", "onednn-devel-cpu-gomp"
SWITCH = "CNN_JAX_ONEDNN"
SOURCES = Path(__file__).parent
# The names of the targets, and the C++ functions of their two stages.
TARGETS = {
    f"cnn_jax_{name}": {
        "instantiate": f"cnn_jax_{name}_instantiate",
        "execute": f"cnn_jax_{operator}_execute",
    }
    for operator, names in {"convolution": ("convolve", "spread", "kernel_gradient")}.items()
    for name in names
}
STATES = ("convolution",)

_lock = threading.Lock()
_log = logging.getLogger(__name__)
_disabled: ContextVar[bool] = ContextVar("disabled", default=False)


class Unavailable(Exception):
    """Why the operators are not available; the message says what to do."""


@contextlib.contextmanager
def disabled() -> Iterator[None]:
    """What is compiled inside uses XLA only, as programs for other machines must.

    Functions that were compiled before keep their calls of oneDNN, also single operators that were
    called outside of `jax.jit`.
    """
    token = _disabled.set(True)
    try:
        yield
    finally:
        _disabled.reset(token)


def load() -> bool:
    """Whether what is compiled now may call oneDNN. The first call compiles and loads it.

    False on machines with an accelerator, inside of `disabled`, if the environment has
    CNN_JAX_ONEDNN=0, and if the operators are not available. The first call logs the reason.
    """
    return not _disabled.get() and _loaded()[0] is not None


def function(name: str) -> Any:
    """A C function of the loaded library."""
    return getattr(_loaded()[0], name)


def status() -> str:
    """One line for people: which library computes convolutions, and why."""
    return _loaded()[1]


def _loaded() -> tuple[ctypes.CDLL | None, str]:
    # Only one thread may register the targets.
    with _lock:
        return _loaded_once()


@functools.cache
def _loaded_once() -> tuple[ctypes.CDLL | None, str]:
    try:
        library = _load()
        version = importlib.metadata.version(LIBRARY)
        message = f"convolutions by oneDNN {version}, {threads_per_call()} threads a call"
        _log.info(message)
        return library, message
    except Unavailable as reason:
        message = f"convolutions by XLA: {reason}"
        _log.info(message)
    except (OSError, subprocess.SubprocessError) as error:
        message = f"convolutions by XLA: oneDNN's operators cannot be made: {error}"
        _log.warning(message)
    return None, message


def _load() -> ctypes.CDLL:
    """The library, with its targets registered."""
    if jax.default_backend() != "cpu":
        raise Unavailable(f"JAX computes on {jax.default_backend()}")
    if os.environ.get(SWITCH) == "0":
        raise Unavailable(f"the environment has {SWITCH}=0")
    if (sys.platform, platform.machine()) != ("linux", "x86_64"):
        raise Unavailable("oneDNN's wheels are for Linux on x86-64")
    try:
        library = _installed_file(LIBRARY, "libdnnl.so.3")
        header = _installed_file(HEADERS, "oneapi/dnnl/dnnl.hpp")
    except importlib.metadata.PackageNotFoundError:
        raise Unavailable("pip install 'cnn-jax[cpu]' makes them faster on this machine") from None
    path = _compiled(library, header.parents[2])
    with _passive_waiting():
        compiled = ctypes.CDLL(str(path))
    for name in STATES:
        type_id, type_info = (
            _address(getattr(compiled, f"cnn_jax_{name}_type_{what}")) for what in ("id", "info")
        )
        jax.ffi.register_ffi_type(f"cnn_jax_{name}", {"type_id": type_id, "type_info": type_info})
    for target, stages in TARGETS.items():
        handlers = {name: jax.ffi.pycapsule(compiled[symbol]) for name, symbol in stages.items()}
        jax.ffi.register_ffi_target(target, handlers, platform="cpu")
    return compiled


@contextlib.contextmanager
def _passive_waiting() -> Iterator[None]:
    """What OpenMP is told as it is loaded, unless the user tells it something else.

    Its threads would wait for their next task by spinning, on cores that XLA's threads need in
    between.
    """
    name = "OMP_WAIT_POLICY"
    told = name in os.environ
    os.environ.setdefault(name, "passive")
    try:
        yield
    finally:
        if not told:
            del os.environ[name]


def _installed_file(distribution: str, ending: str) -> Path:
    files = importlib.metadata.files(distribution) or []
    for file in files:
        if str(file).endswith(ending):
            return Path(str(file.locate())).resolve()
    raise Unavailable(f"{distribution} {importlib.metadata.version(distribution)} has no {ending}")


def _address(function: Any) -> Any:
    """The pointer that a C function without arguments returns, as a capsule for JAX."""
    function.restype = ctypes.c_void_p
    capsule = ctypes.pythonapi.PyCapsule_New
    capsule.restype, capsule.argtypes = (
        ctypes.py_object,
        [ctypes.c_void_p, ctypes.c_char_p, ctypes.c_void_p],
    )
    return capsule(function(), None, None)


def _compiled(library: Path, headers: Path) -> Path:
    """Our operators as a shared library in the user's cache directory; compiled once.

    Processes that start together may each compile it; the last one replaces the file.
    """
    sources = sorted(SOURCES.glob("*.cc"))
    versions = f"{jaxlib.__version__} {importlib.metadata.version(LIBRARY)} {library}"
    content = b"".join(path.read_bytes() for path in (*sources, *sorted(SOURCES.glob("*.h"))))
    digest = hashlib.sha256(versions.encode() + content).hexdigest()[:16]
    user_cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    directory = user_cache / "cnn_jax" / "onednn"
    target = directory / f"operators-{digest}.so"
    if target.exists():
        return target

    compiler = os.environ.get("CXX") or next(filter(shutil.which, ("g++", "clang++", "c++")), None)
    if compiler is None:
        raise Unavailable("oneDNN's operators need a C++ compiler: install g++")
    directory.mkdir(parents=True, exist_ok=True)
    _log.info("compiling oneDNN's operators, once, into %s", target)
    with tempfile.TemporaryDirectory(dir=directory) as temporary:
        made = Path(temporary, target.name)
        command = [
            *shlex.split(compiler),
            "-std=c++17",
            "-O2",
            "-fPIC",
            "-shared",
            "-w",
            "-o",
            str(made),
        ]
        command += [f"-I{jax.ffi.include_dir()}", f"-I{headers}", *map(str, sources)]
        command += [str(library), f"-Wl,-rpath,{library.parent}"]
        done = subprocess.run(command, capture_output=True, text=True)
        if done.returncode:
            reason = next(iter(done.stderr.splitlines()), f"exit status {done.returncode}")
            raise OSError(f"{compiler} failed: {reason}")
        made.replace(target)
    return target


@functools.cache
def threads_per_call() -> int:
    """The cores of this process divided by its devices, or OMP_NUM_THREADS if it is set."""
    # A list has a number for each level of nested loops. OpenMP itself warns of wrong values.
    threads = os.environ.get("OMP_NUM_THREADS", "").partition(",")[0].strip()
    if threads.isdecimal() and int(threads):
        return int(threads)
    cores = len(os.sched_getaffinity(0)) if sys.platform == "linux" else os.cpu_count() or 1
    return max(1, cores // jax.local_device_count("cpu"))
