"""The weights in a checkpoint: where in it they are, and which names they have."""

import os
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from cnn_jax.errors import ConfigError
from cnn_jax.pretrained.checkpoint_file import read_checkpoint

CONTAINERS = ("state_dict", "model_state_dict", "model", "net")
"""Keys under which training scripts store the state dict in a checkpoint."""
AVERAGED = ("state_dict_ema", "model_ema", "ema_state_dict", "ema")
"""Keys under which they store the moving average of the weights."""
PREFIXES = ("module.", "_orig_mod.", "model.")
"""What `DataParallel`, `torch.compile` and a LightningModule put before all names."""
COUNTERS = ("num_batches_tracked", "n_averaged")

Entries = dict[str, Any]
"""Tensors or arrays by name."""


def as_state_dict(
    source: Mapping[Any, Any] | str | os.PathLike,
    *,
    averaged: bool | None = None,
    prefix: str = "",
) -> Entries:
    """The tensors or arrays of a state dict by name, as they are stored.

    Checkpoints are unwrapped (`CONTAINERS`, `AVERAGED`), in any nesting. Prefixes that all names
    have (`PREFIXES`) are removed, in any order. Counters of batches and of averaged models are
    omitted.

    Args:
        source: tensors or arrays by name, or a file of them (see `read_checkpoint`).
        averaged: which weights to take of a checkpoint that contains both: their moving average,
            or those of the last step. None takes the average and warns.
        prefix: take only the names that begin with it, such as "encoder_q.", and remove it.

    Raises:
        ConfigError: the source is not a state dict, has none of these weights, or contains tensors
            without ordinary values (meta, sparse, quantized, nested, complex).
        UserError: a file that cannot be read.
    """
    if isinstance(source, Mapping):
        where, loaded = "this", source
    else:
        where, loaded = str(source), read_checkpoint(Path(source))
    try:
        entries = _without_counters(_unwrapped(loaded, where, averaged))
    except RecursionError:
        raise ConfigError(f"{where} is not a state dict: it contains itself") from None
    if wrong := [name for name in entries if not isinstance(name, str)]:
        raise ConfigError(
            f"{where} is not a state dict: {wrong[0]!r} is a key of type {type(wrong[0]).__name__},"
            " expected names such as 'conv1.weight'"
        )
    if other := [name for name, value in entries.items() if not hasattr(type(value), "shape")]:
        raise ConfigError(
            f"{where} is not a state dict: {', '.join(other[:5])} "
            f"{'are not arrays' if other[1:] else 'is not an array'}; expected arrays by name, or "
            f"a dict with them as {' or '.join((*CONTAINERS, *AVERAGED))}"
        )
    if not entries:
        raise ConfigError(f"{where} contains no weights")
    entries = _without_prefixes(entries)
    if prefix:
        chosen = _removed(prefix, entries)
        if not chosen:
            raise ConfigError(
                f"no name in {where} begins with {prefix!r}; they begin with "
                f"{', '.join(repr(one) for one in beginnings(entries))}"
            )
        entries = _without_prefixes(chosen)
    for name, value in entries.items():
        if problem := _unusual(value):
            raise ConfigError(f"{name} in {where} {problem}")
    return entries


def beginnings(entries: Mapping[str, Any], limit: int = 5) -> list[str]:
    """The first parts of the names with their dot, the most frequent first."""
    counts: dict[str, int] = {}
    for name in entries:
        first = name[: name.find(".") + 1] or name
        counts[first] = counts.get(first, 0) + 1
    return sorted(counts, key=lambda first: -counts[first])[:limit]


def to_numpy(value: Any) -> np.ndarray:
    """A PyTorch tensor or an array as numpy array; half precision and float8 become float32."""
    if hasattr(value, "detach"):
        value = value.detach().cpu().resolve_neg()
        # NumPy has no bfloat16 and no float8, and float32 represents all their values exactly.
        value = (
            value.float() if value.is_floating_point() and value.itemsize < 4 else value
        ).numpy()
    array = np.asarray(value)
    if array.dtype.kind in "iub":  # counters and masks
        return array
    return array.astype(np.promote_types(array.dtype, np.float32), copy=False)


def _unwrapped(loaded: Mapping[Any, Any], where: str, averaged: bool | None) -> Mapping[Any, Any]:
    """The state dict in a checkpoint, which may be several dicts deep."""
    plain = [key for key in CONTAINERS if isinstance(loaded.get(key), Mapping)]
    average = [key for key in AVERAGED if isinstance(loaded.get(key), Mapping)]
    if averaged is False and ((average and not plain) or "n_averaged" in loaded):
        raise ConfigError(f"{where} has only averaged weights: leave out averaged=False")
    if averaged and not (average or plain or "n_averaged" in loaded):
        raise ConfigError(
            f"{where} has no averaged weights ({', '.join(AVERAGED)}): leave out averaged=True"
        )
    if averaged is None and plain and average:
        warnings.warn(
            f"{where} has the weights of the last step ({plain[0]!r}) and their moving average "
            f"({average[0]!r}). The average is taken; for the last step set averaged=False "
            "(in a command: --no-averaged)",
            stacklevel=4,
        )
    if average and averaged is not False:
        return _unwrapped(loaded[average[0]], where, None)
    return _unwrapped(loaded[plain[0]], where, averaged) if plain else loaded


def _without_counters(loaded: Mapping[Any, Any]) -> dict[Any, Any]:
    return {name: value for name, value in loaded.items() if not str(name).endswith(COUNTERS)}


def _without_prefixes(entries: Entries) -> Entries:
    for prefix in PREFIXES:
        if all(name.startswith(prefix) for name in entries):
            return _without_prefixes(_removed(prefix, entries))
    return entries


def _removed(prefix: str, entries: Entries) -> Entries:
    """The entries whose names begin with the prefix, without it."""
    return {
        name.removeprefix(prefix): value
        for name, value in entries.items()
        if name.startswith(prefix)
    }


def _unusual(value: Any) -> str:
    """What keeps a tensor from being an array of values; empty if nothing does."""
    if not hasattr(value, "detach"):
        kind = np.asarray(value).dtype
        return f"has the dtype {kind}, expected numbers" if kind.kind in "OSUMm" else ""
    if value.is_meta:
        return "has a shape but no values (device meta): save the model after it was loaded"
    if value.is_quantized:
        return f"is quantized ({value.dtype}): save the model before it was quantized"
    if value.is_nested:
        return "is a nested tensor: save its parts by names of their own"
    if value.is_complex():
        return f"has the dtype {value.dtype}, expected real numbers"
    if "strided" not in str(value.layout):
        return f"is not dense ({value.layout}): save it with to_dense()"
    return ""
