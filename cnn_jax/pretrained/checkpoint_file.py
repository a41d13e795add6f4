"""Reading of checkpoint files, of PyTorch and as safetensors, without running code in them."""

import argparse
import datetime
import re
import types
import warnings
import zipfile
from collections.abc import Mapping
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Any

import numpy as np

from cnn_jax.errors import UserError
from cnn_jax.extras import extra

TORCH_SUFFIXES = (".pth", ".pt", ".th", ".ckpt", ".bin", ".tar")
SUFFIXES = (".safetensors", *TORCH_SUFFIXES)
"""What a checkpoint's name ends in; .pth.tar is one of .tar."""

MOST_EXPANSION = 8
"""The largest ratio of the size of a file's content to that of the file."""


def read_checkpoint(path: Path) -> Mapping[Any, Any]:
    """The content of a file.

    Beside tensors, a file of PyTorch may contain numbers, text, containers, `argparse.Namespace`,
    paths, dates and NumPy's scalars and arrays. No other class or function in it is called.

    Args:
        path: .safetensors (needs safetensors), or .pth, .pt, .th, .ckpt, .bin, .tar (needs torch).

    Raises:
        UserError: the file is missing, damaged, of another kind or not a dict, it would grow to
            more than `MOST_EXPANSION` times its size, its reader is not installed, or reading it
            would run code, which is named.
    """
    if not path.is_file():
        raise UserError(f"there is no file {path}")
    if path.suffix not in SUFFIXES:
        raise UserError(
            f"{path} is neither .safetensors nor {', '.join(TORCH_SUFFIXES)} (PyTorch); rename it "
            "if it is one"
        )
    loaded = _read_safetensors(path) if path.suffix == ".safetensors" else _read_torch(path)
    if not isinstance(loaded, Mapping):
        raise UserError(f"{path} contains a {type(loaded).__name__}, expected a state dict")
    return loaded


def _read_safetensors(path: Path) -> Any:
    from safetensors import SafetensorError, safe_open

    tensors = {}
    try:
        with safe_open(path, framework="numpy") as file:
            for name in file.keys():  # noqa: SIM118
                try:
                    tensors[name] = file.get_tensor(name)
                except (AttributeError, TypeError):  # NumPy has no such dtype
                    raise UserError(
                        f"{name!r} in {path} has the dtype {file.get_slice(name).get_dtype()}, "
                        "which NumPy does not have: save it as float32"
                    ) from None
        return tensors
    except (SafetensorError, OSError) as error:
        raise UserError(_damaged(path, "safetensors file", error)) from error


def _read_torch(path: Path) -> Any:
    with extra("torch", f"reading {path} (or use weights as .safetensors)"):
        import torch
    _check_compression(path)
    with torch.serialization.safe_globals(_harmless()), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of formats that PyTorch deprecates
        try:
            return torch.load(path, map_location="cpu", weights_only=True)
        # A damaged file raises UnpicklingError, RuntimeError, EOFError, KeyError or others.
        except Exception as error:
            if code := _code_in(path, str(error)):
                raise UserError(
                    f"{path} contains more than tensors: reading it would run {', '.join(code)}. "
                    "Nothing was run. Save the weights alone where the file was made, with "
                    "torch.save(model.state_dict(), …) or safetensors"
                ) from None
            if "TorchScript" in str(error) or "legacy .tar" in str(error):
                raise UserError(
                    f"{path} is a TorchScript program or in PyTorch's format before 2018, which "
                    "cannot be read without running it. Save the weights alone where the file was "
                    "made, with torch.save(model.state_dict(), …) or safetensors"
                ) from None
            raise UserError(_damaged(path, "PyTorch checkpoint", error)) from error


def _check_compression(path: Path) -> None:
    """Raise UserError if a zip file would grow by far; `torch.save` does not compress."""
    try:
        with zipfile.ZipFile(path) as file:
            size = sum(member.file_size for member in file.infolist())
    except (zipfile.BadZipFile, OSError):
        return  # PyTorch's older format, or damaged: its reader says so
    if size > MOST_EXPANSION * path.stat().st_size:
        raise UserError(
            f"{path} ({path.stat().st_size:,} bytes) is compressed and would take {size:,} bytes: "
            f"the limit is {MOST_EXPANSION} times its size. Save the weights again, with "
            "torch.save, which does not compress"
        )


def _harmless() -> list[Any]:
    """Classes and functions that build values and do nothing else, as `safe_globals` takes them.

    A pair is a class with the name that it has in a file of another platform or version.
    """
    numpy_dtypes = [type(np.dtype(code)) for code in "?bBhHiIlLqQefdgFDSUMmO"]
    harmless: list[Any] = [
        *(int, float, bool, str, list, tuple, dict, set),
        *(argparse.Namespace, types.SimpleNamespace),
        *(datetime.datetime, datetime.date, datetime.timedelta, datetime.timezone),
        *(np.ndarray, np.dtype, *numpy_dtypes),
        (_without_default, "collections.defaultdict"),
    ]
    # The functions that make scalars and arrays of bytes. Their module has had two names.
    for value in (np.float64(0), np.zeros(0)):
        function: Any = value.__reduce__()[0]
        for module in ("numpy._core.multiarray", "numpy.core.multiarray"):
            harmless.append((function, f"{module}.{function.__name__}"))
    for module in ("pathlib", "pathlib._local"):
        for kind in ("Path", "PurePath"):
            flavours = {"Posix": PurePosixPath, "Windows": PureWindowsPath}
            for flavour, pure in flavours.items():
                name = f"{module}.{kind.removesuffix('Path')}{flavour}Path"
                harmless.append((pure, name))
    return harmless


def _without_default(*_: Any) -> dict[Any, Any]:
    """Instead of `collections.defaultdict`, which PyTorch does not fill."""
    return {}


def _code_in(path: Path, message: str) -> list[str]:
    """Names of the functions and classes in a file that are not known to be harmless."""
    import torch

    try:
        names = torch.serialization.get_unsafe_globals_in_checkpoint(path)
    except Exception:  # not a zip file: PyTorch's message has the first name
        names = re.findall(r"(?:GLOBAL|class) (\S+) (?:was not|whose)", message)[:1]
    return sorted({_printable(name) for name in names})


def _damaged(path: Path, kind: str, error: Exception) -> str:
    # PyTorch's reason stands between pieces of advice about weights_only.
    lines = [line for line in str(error).splitlines() if line and "weights_only" not in line]
    reason = _printable((lines or [type(error).__name__])[0])[:200]
    return f"{path} ({path.stat().st_size:,} bytes) is not a complete {kind}: {reason}"


def _printable(text: str) -> str:
    """The text without control characters, which a file can put into a terminal."""
    return "".join(filter(str.isprintable, text))
