"""State dicts: PyTorch's names and arrays, from memory or from a file, bare or wrapped."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from cnn_jax.errors import ConfigError, UserError

TORCH_SUFFIXES = (".pth", ".pt", ".bin", ".tar")
CONTAINERS = ("state_dict", "model_state_dict", "model")
"""Where training scripts keep the state dict, among epochs, optimizers and the like."""


def as_state_dict(source: Mapping[str, Any] | str | os.PathLike) -> dict[str, np.ndarray]:
    """The arrays of a state dict by name, as they are stored; floating point at least float32.

    A checkpoint that holds the state dict as its "state_dict", "model_state_dict" or "model" is
    unwrapped, and so are names that all begin with "module." (`torch.nn.DataParallel`). Counters
    of batches (`num_batches_tracked`) are left out: nothing here reads them.

    Args:
        source: names to tensors or numpy arrays; or a file, .safetensors (needs safetensors) or
            .pth, .pt, .bin, .pth.tar (needs torch; only tensors are loaded, no code is run).

    Raises:
        ConfigError: what is no state dict.
        UserError: a file that is missing, damaged or of another kind, or whose reader is missing.
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
            f"{where} is not a state dict, which has names and arrays only: "
            f"{', '.join(map(str, other[:5]))} {'are' if other[1:] else 'is'} none; "
            f"expected a state dict, or a dict with one as its {' or '.join(CONTAINERS)}"
        )
    if not entries:
        raise ConfigError(f"{where} holds no weights")
    if all(name.startswith("module.") for name in entries):
        entries = {name.removeprefix("module."): value for name, value in entries.items()}
    return {name: to_numpy(value) for name, value in entries.items()}


def read_checkpoint(path: Path) -> Mapping[str, Any]:
    """What a file holds; raises UserError where it cannot be read."""
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
    """A tensor of PyTorch or an array; floating point in float32, float64 stays as it is."""
    if hasattr(value, "detach"):
        value = value.detach().cpu()
        # NumPy knows no bfloat16, and float32 holds every 16-bit value.
        value = (
            value.float() if value.is_floating_point() and value.itemsize < 4 else value
        ).numpy()
    array = np.asarray(value)
    if array.dtype.kind in "iub":  # counters, masks: told apart from weights by their kind
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
            f"{path} needs torch to be read: pip install 'cnn-jax[torch]', or take the weights as "
            ".safetensors"
        ) from error
    try:
        loaded = torch.load(path, map_location="cpu", weights_only=True)
    # What a damaged file raises depends on where torch stumbles over it: UnpicklingError,
    # RuntimeError, EOFError, KeyError and others.
    except Exception as error:
        raise UserError(
            _damaged(path, "PyTorch checkpoint of tensors alone", error)
            + "\n(A file with other Python objects in it is never opened, as it could run code: "
            "save model.state_dict() with torch.save.)"
        ) from error
    if not isinstance(loaded, Mapping):
        raise UserError(f"{path} holds a {type(loaded).__name__}, expected a state dict")
    return loaded


def _damaged(path: Path, kind: str, error: Exception) -> str:
    reason = (str(error).strip() or type(error).__name__).splitlines()[0][:200]
    return f"{path} ({path.stat().st_size:,} bytes) is no whole {kind}: {reason}"
