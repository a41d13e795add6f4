"""XLA's flags for GPUs, each with its reason."""

import importlib.util
import os
from importlib import metadata

GPU_FLAGS = {
    # A compiled loop of steps is one CUDA graph with all of its kernels. By default, the host
    # launches each convolution, and waits at the end of each step to decide whether there is
    # another one.
    "--xla_gpu_enable_command_buffer": "+WHILE,+CONDITIONAL,+CONVOLUTION",
}
OLDEST = (0, 10, 2)
"""The first jaxlib that is known to have these values; an unknown value ends the process."""


def set_compiler_flags(*, deterministic: bool = False) -> None:
    """Add the flags to XLA_FLAGS, where JAX's CUDA plugin is installed; before JAX computes.

    Flags that XLA_FLAGS has already stay as they are.

    Args:
        deterministic: only kernels that give the same bits in every run; some are slower.
    """
    flags = {}
    if _has_cuda() and _version("jaxlib") >= OLDEST:
        flags |= GPU_FLAGS
    if deterministic:
        flags["--xla_gpu_deterministic_ops"] = "true"
    given = os.environ.get("XLA_FLAGS", "")
    added = [f"{name}={value}" for name, value in flags.items() if name not in given]
    os.environ["XLA_FLAGS"] = " ".join([*given.split(), *added])


def _has_cuda() -> bool:
    return any(importlib.util.find_spec(f"jax_cuda{number}_plugin") for number in (12, 13))


def _version(package: str) -> tuple[int, ...]:
    return tuple(int(part) for part in metadata.version(package).split(".")[:3])
