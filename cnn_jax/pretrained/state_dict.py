"""Reading of PyTorch's state dicts, from memory or from a file."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from cnn_jax.errors import ConfigError, UserError

TORCH_SUFFIXES = (".pth", ".pt", ".bin", ".tar")
CONTAINERS = ("state_dict", "model_state_dict", "model")
"""Keys under which training scripts store the state dict in a checkpoint."""


def as_state_dict(source: Mapping[str, Any] | str | os.PathLike) -> dict[str, np.ndarray]:
    """The arrays of a state dict by name; floating point is float32 or wider.

    A checkpoint that stores the state dict as "state_dict", "model_state_dict" or "model" is
    unwrapped. The prefix "module." of `torch.nn.DataParallel` is removed. Counters of batches
    (`num_batches_tracked`) are omitted.

    Args:
        source: tensors or numpy arrays by name; or a file, .safetensors (needs safetensors) or
            .pth, .pt, .bin, .pth.tar (needs torch; only tensors are loaded, no code is run).

    Raises:
        ConfigError: the source is not a state dict.
        UserError: the file is missing, damaged or of another kind, or its reader is not installed.
    """
    if isinstance(source, Mapping):
        where, loaded = "this", source
    else:
        where, loaded = str(source), read_checkpoint(Path(source))
    for container in CONTAINERS:
        if isinstance(loaded.get(container), Mapping):
            loaded = loaded[container]
    entries = {
        name: value
        for name, value in loaded.items()
        if not str(name).endswith("num_batches_tracked")
    }
    if other := [name for name, value in entries.items() if not hasattr(value, "shape")]:
        raise ConfigError(
            f"{where} is not a state dict: {', '.join(map(str, other[:5]))} "
            f"{'are not arrays' if other[1:] else 'is not an array'}; expected arrays by name, or "
            f"a dict with them as {' or '.join(CONTAINERS)}"
        )
    if not entries:
        raise ConfigError(f"{where} contains no weights")
    if all(name.startswith("module.") for name in entries):
        entries = {name.removeprefix("module."): value for name, value in entries.items()}
    return {name: to_numpy(value) for name, value in entries.items()}


def read_checkpoint(path: Path) -> Mapping[str, Any]:
    """The content of a file; raises UserError if it cannot be read."""
    if not path.is_file():
        raise UserError(f"there is no file {path}")
    if path.suffix == ".safetensors":
        return _read_safetensors(path)
    if path.suffix in TORCH_SUFFIXES:
        return _read_torch(path)
    raise UserError(
        f"{path} is neither .safetensors nor {', '.join(TORCH_SUFFIXES)}; rename it if it is one"
    )


def to_numpy(value: Any) -> np.ndarray:
    """A PyTorch tensor or an array as numpy array; half precision becomes float32."""
    if hasattr(value, "detach"):
        value = value.detach().cpu()
        # NumPy has no bfloat16, and float32 represents every 16-bit value exactly.
        value = (
            value.float() if value.is_floating_point() and value.itemsize < 4 else value
        ).numpy()
    array = np.asarray(value)
    if array.dtype.kind in "iub":  # counters and masks
        return array
    return array.astype(np.promote_types(array.dtype, np.float32), copy=False)


def _read_safetensors(path: Path) -> Mapping[str, Any]:
    try:
        from safetensors import SafetensorError, safe_open
    except ImportError as error:
        raise UserError(f"{path} needs safetensors: pip install safetensors") from error
    try:
        with safe_open(path, framework="numpy") as file:
            return {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except (SafetensorError, OSError) as error:
        raise UserError(_damaged(path, "safetensors file", error)) from error


def _read_torch(path: Path) -> Mapping[str, Any]:
    try:
        import torch
    except ImportError as error:
        raise UserError(
            f"reading {path} needs torch: pip install 'cnn-jax[torch]', or use weights as "
            ".safetensors"
        ) from error
    try:
        loaded = torch.load(path, map_location="cpu", weights_only=True)
    # A damaged file raises UnpicklingError, RuntimeError, EOFError, KeyError or others.
    except Exception as error:
        raise UserError(
            _damaged(path, "PyTorch checkpoint of tensors", error)
            + "\n(A file with other Python objects could run code and is not loaded: save "
            "model.state_dict() with torch.save.)"
        ) from error
    if not isinstance(loaded, Mapping):
        raise UserError(f"{path} contains a {type(loaded).__name__}, expected a state dict")
    return loaded


def _damaged(path: Path, kind: str, error: Exception) -> str:
    reason = (str(error).strip() or type(error).__name__).splitlines()[0][:200]
    return f"{path} ({path.stat().st_size:,} bytes) is not a complete {kind}: {reason}"
