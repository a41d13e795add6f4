"""Weights that are hostile, broken or of another kind end in one message, soon."""

import json
import os
import struct
import zipfile

import numpy as np
import pytest

from cnn_jax.errors import UserError
from cnn_jax.models import create_model
from cnn_jax.pretrained import from_torch
from tests.limits import run_limited, within

SHAPE = (6, 1, 5, 5)  # of LeNet-5's first kernel


def message(weights):
    with pytest.raises(UserError) as error, within(20):
        from_torch("lenet5", weights)
    return str(error.value)


def tensors():
    torch = pytest.importorskip("torch")
    kernel = torch.zeros(SHAPE)
    return {
        "meta": kernel.to("meta"),
        "sparse": kernel.to_sparse(),
        "quantized": torch.quantize_per_tensor(kernel, 0.1, 0, torch.qint8),
        "nested": torch.nested.nested_tensor([kernel[0], kernel[1]]),
        "complex64": kernel.to(torch.complex64),
        "complex32": kernel.to(torch.complex32),
        "conjugated": torch.conj(kernel.to(torch.complex64)),
        "integer": kernel.int(),
        "not finite": kernel / 0,
        "terabytes of one value": torch.zeros(1, dtype=torch.half).expand(2_000_000, 1_000_000),
    }


@pytest.mark.filterwarnings("ignore")  # of PyTorch's prototypes
@pytest.mark.parametrize(
    "kind",
    [
        *("meta", "sparse", "quantized", "nested", "complex64", "complex32", "conjugated"),
        *("integer", "not finite", "terabytes of one value"),
    ],
)
@pytest.mark.parametrize("stored", [False, True])
def test_tensors_without_ordinary_values_are_named(tmp_path, kind, stored):
    torch = pytest.importorskip("torch")
    weights = {name: torch.zeros(1) for name in create_model("lenet5").torch_names()}
    weights["conv1.weight"] = tensors()[kind]
    path = tmp_path / "weights.pth"
    if stored:
        torch.save(weights, path)
    assert "conv1.weight" in message(path if stored else weights)


@pytest.mark.parametrize("dtype", ["F8_E4M3", "F8_E5M2"])
def test_a_dtype_that_numpy_lacks_is_named(tmp_path, dtype):
    header = {"conv1.weight": {"dtype": dtype, "shape": [4], "data_offsets": [0, 4]}}
    assert f"'conv1.weight' in {tmp_path}/w.safetensors has the dtype {dtype}" in message(
        safetensors(tmp_path, header)
    )


def safetensors(folder, header):
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    (folder / "w.safetensors").write_bytes(struct.pack("<Q", len(text)) + text + bytes(4))
    return folder / "w.safetensors"


@pytest.mark.parametrize(
    "header",
    [
        {"a": {"dtype": "F32", "shape": [10**12], "data_offsets": [0, 4]}},
        {"a": {"dtype": "F32", "shape": [-1], "data_offsets": [0, 4]}},
        {"a": {"dtype": "F32", "shape": [1], "data_offsets": [0, 2**62]}},
        {"a": {"dtype": "NONE", "shape": [1], "data_offsets": [0, 4]}},
        b"[]",
        b'{"a":' * 10_000,
    ],
)
def test_safetensors_that_lie(tmp_path, header):
    assert "is not a complete safetensors file" in message(safetensors(tmp_path, header))


@pytest.mark.parametrize("key", [0, None, ("a", 1), b"conv1.weight"])
def test_keys_that_are_no_text(key, no_shape_hook):
    assert f"{key!r} is a key of type" in message({key: np.zeros(SHAPE)})


def test_weights_that_contain_themselves():
    weights: dict = {}
    weights["state_dict"] = weights
    assert "it contains itself" in message(weights)


@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
@pytest.mark.parametrize("kind", ["pipe", "device", "folder", "empty"])
def test_what_is_no_file(tmp_path, kind, suffix):
    if suffix == ".pth":
        pytest.importorskip("torch")
    path = tmp_path / f"weights{suffix}"
    {
        "pipe": lambda: os.mkfifo(path),
        "device": lambda: path.symlink_to("/dev/zero"),
        "folder": path.mkdir,
        "empty": path.touch,
    }[kind]()
    expected = "is not a complete" if kind == "empty" else f"there is no file {path}"
    assert expected in message(path)


def test_a_file_that_grows_is_told_in_little_memory(tmp_path):
    torch = pytest.importorskip("torch")
    torch.save({"conv1.weight": torch.zeros(SHAPE)}, tmp_path / "small.pth")
    path = tmp_path / "weights.pth"
    with (
        zipfile.ZipFile(tmp_path / "small.pth") as small,
        zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as large,
    ):
        for name in small.namelist():
            with large.open(name, "w") as member:
                member.write(small.read(name))
                for _ in range(100 if name.endswith("/data/0") else 0):
                    member.write(bytes(10**7))
    code = """
import sys
from pathlib import Path
from cnn_jax.errors import UserError
from cnn_jax.pretrained.checkpoint_file import read_checkpoint
try:
    read_checkpoint(Path(sys.argv[1]))
except UserError as error:
    print(error)
"""
    printed = run_limited(code, str(path), gigabytes=6)
    assert "is compressed and would take 1,000,0" in printed
