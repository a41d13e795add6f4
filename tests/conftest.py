"""Sets JAX up for the tests: 8 virtual CPU devices, strict ranks, a compilation cache."""

import ctypes
import os
import resource
import signal
from collections.abc import Iterator
from pathlib import Path

# Before JAX is imported, here and in the processes that tests start.
os.environ.setdefault("JAX_PLATFORMS", "cpu")
if "xla_force_host_platform_device_count" not in os.environ.get("XLA_FLAGS", ""):
    os.environ["XLA_FLAGS"] = (
        os.environ.get("XLA_FLAGS", "") + " --xla_force_host_platform_device_count=8"
    ).strip()

# A shell lets what it starts in the background ignore Ctrl-C, which tests send and expect.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

import jax
import jaxtyping
import pytest

from tests.web_server import web_server  # noqa: F401 (a fixture for all)

jax.config.update("jax_numpy_rank_promotion", "raise")


def _compilation_cache() -> Path:
    user_cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return user_cache / "cnn_jax" / f"tests-jax-{jax.__version__}"


jax.config.update("jax_compilation_cache_dir", str(_compilation_cache()))
# What compiles faster than this is not worth its file.
jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.3)
# As experiments do, see `experiments.tools.compilation_cache`.
jax.config.update("jax_remove_custom_partitioning_ptr_from_cache_key", True)


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--full", action="store_true", help="run the slow half of the suite too")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if config.getoption("--full"):
        return
    for item in items:
        if "full" in item.keywords:
            item.add_marker(pytest.mark.skip(reason="slow: run with --full"))


@pytest.fixture(autouse=True)
def little_memory() -> Iterator[None]:
    """Drops compiled programs, and gives back what experiments keep, where a process is large."""
    yield
    statm = Path("/proc/self/statm")
    if statm.exists() and int(statm.read_text().split()[1]) * resource.getpagesize() > 3 * 2**30:
        jax.clear_caches()
        # After `keep_freed_memory` malloc gives nothing back by itself (glibc alone has this).
        getattr(ctypes.CDLL(None), "malloc_trim", int)(0)


@pytest.fixture
def no_shape_hook() -> Iterator[None]:
    """Lets a wrong argument through to the function, so that its own message can be tested."""
    before = jaxtyping.config.jaxtyping_disable
    jaxtyping.config.update("jaxtyping_disable", True)
    yield
    jaxtyping.config.update("jaxtyping_disable", before)
