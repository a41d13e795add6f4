"""The peak memory of a process, from the allocator of a GPU or from Linux."""

import ctypes
import platform
import sys
from pathlib import Path
from typing import Any

STATUS = Path("/proc/self/status")


def now() -> int:
    """Bytes that this process has now, without freed memory."""
    _give_back()
    return _status("VmRSS")


def reset() -> None:
    """Reset the peak, without freed memory."""
    if gpu := _torch_gpu():
        gpu.reset_peak_memory_stats()
    _give_back()
    # Linux, proc(5): 5 resets VmHWM to VmRSS.
    Path("/proc/self/clear_refs").write_text("5")


def peak(before: int) -> int:
    """Peak in bytes since `reset`: that of a GPU's allocator, or of the process minus `before`.

    The peak of JAX's allocator cannot be reset: on a GPU it is that since the process began.
    """
    if gpu := _torch_gpu():
        return gpu.max_memory_allocated()
    if (jax := sys.modules.get("jax")) and (statistics := jax.devices()[0].memory_stats()):
        return statistics["peak_bytes_in_use"]
    return _status("VmHWM") - before


def _give_back() -> None:
    if platform.libc_ver()[0] == "glibc":
        ctypes.CDLL(None).malloc_trim(0)


def _torch_gpu() -> Any:
    torch = sys.modules.get("torch")
    return torch.cuda if torch and torch.cuda.is_available() else None


def _status(field: str) -> int:
    for line in STATUS.read_text().splitlines():
        if line.startswith(f"{field}:"):
            return int(line.split()[1]) * 1024
    raise OSError(f"{STATUS} has no {field}: peaks can only be measured on Linux")
