import argparse
import collections
import datetime
import pathlib

import numpy as np
import pytest

from cnn_jax.errors import UserError
from cnn_jax.pretrained.checkpoint_file import read_checkpoint
from cnn_jax.pretrained.state_dict import as_state_dict, to_numpy

STATE = {"fc.weight": np.arange(6.0, dtype=np.float32).reshape(2, 3), "fc.bias": np.ones(2)}


def assert_same(actual, expected=STATE):
    assert actual.keys() == expected.keys()
    for name, value in expected.items():
        np.testing.assert_array_equal(to_numpy(actual[name]), value)


def test_safetensors(tmp_path):
    safetensors = pytest.importorskip("safetensors.numpy")
    ml_dtypes = pytest.importorskip("ml_dtypes")
    path = tmp_path / "model.safetensors"
    safetensors.save_file(STATE | {"half": np.ones(2, ml_dtypes.bfloat16)}, path)
    state = as_state_dict(path)
    assert to_numpy(state["half"]).dtype == np.float32
    assert to_numpy(state["fc.bias"]).dtype == np.float64
    assert_same(state, STATE | {"half": np.ones(2)})
    content = path.read_bytes()
    for damaged in (content[:-5], content[:20], b"", b"<html>not found</html>"):
        path.write_bytes(damaged)
        with pytest.raises(UserError, match=r"bytes\) is not a complete safetensors file: "):
            as_state_dict(path)


@pytest.mark.parametrize("suffix", ["pth", "pt", "th", "ckpt", "bin", "pth.tar"])
def test_torch_files(tmp_path, suffix):
    torch = pytest.importorskip("torch")
    tensors = {name: torch.tensor(value) for name, value in STATE.items()}
    tensors["half"] = torch.ones(2, dtype=torch.bfloat16)
    tensors["scale"] = torch.nn.Parameter(torch.ones(2))
    path = tmp_path / f"checkpoint.{suffix}"
    torch.save({"epoch": 3, "state_dict": tensors}, path)
    state = as_state_dict(str(path))
    assert_same(state, STATE | {"half": np.ones(2), "scale": np.ones(2)})


def test_damaged_torch_files(tmp_path):
    torch = pytest.importorskip("torch")
    path = tmp_path / "model.pth"
    torch.save({name: torch.tensor(value) for name, value in STATE.items()}, path)
    content = path.read_bytes()
    for damaged in (content[: len(content) // 2], b"", b"<html>not found</html>", b"\x80\x02"):
        path.write_bytes(damaged)
        with pytest.raises(UserError, match=r"is not a complete PyTorch checkpoint: \w+"):
            as_state_dict(path)


@pytest.mark.parametrize("zipped", [True, False])
def test_code_in_a_file_is_named_and_not_run(tmp_path, zipped):
    torch = pytest.importorskip("torch")
    path = tmp_path / "model.pth"
    torch.save({"fc.bias": Trap()}, path, _use_new_zipfile_serialization=zipped)
    with pytest.raises(
        UserError, match=r"reading it would run .*spring.* Nothing was run"
    ) as error:
        read_checkpoint(path)
    assert "weights_only" not in str(error.value) and "\x1b" not in str(error.value)
    assert Trap.sprung == 0


class Trap:
    sprung = 0

    def __reduce__(self):
        return spring, ()


def spring():
    Trap.sprung += 1


@pytest.mark.parametrize("zipped", [True, False])
def test_what_training_scripts_save_beside_the_weights(tmp_path, zipped):
    torch = pytest.importorskip("torch")
    beside = {
        "args": argparse.Namespace(lr=0.1, data=pathlib.Path("/data"), betas=[0.9]),
        "windows": pathlib.PureWindowsPath("c:/data"),
        "best": np.float64(91.5),
        "epoch": np.int64(3),
        "classes": np.array(["cat", "dog"]),
        "random": np.random.default_rng(0).integers(9, size=4),
        "history": collections.defaultdict(list, {"loss": [0.5]}),
        "date": datetime.datetime(2020, 1, 2),
    }
    tensors = {name: torch.tensor(value) for name, value in STATE.items()}
    path = tmp_path / "last.ckpt"
    torch.save({"state_dict": tensors, **beside}, path, _use_new_zipfile_serialization=zipped)
    loaded = read_checkpoint(path)
    assert loaded["args"].lr == 0.1 and loaded["args"].data == pathlib.PurePosixPath("/data")
    assert loaded["best"] == 91.5 and loaded["history"] == {"loss": [0.5]}
    assert loaded["classes"].tolist() == ["cat", "dog"] and loaded["date"] == beside["date"]
    assert_same(as_state_dict(path))


def test_a_whole_model_and_a_program_are_no_state_dict(tmp_path):
    torch = pytest.importorskip("torch")
    torch.save(torch.nn.Linear(2, 2), tmp_path / "model.pth")
    with pytest.raises(UserError, match=r"would run torch.nn.modules.linear.Linear"):
        read_checkpoint(tmp_path / "model.pth")
    torch.jit.save(torch.jit.trace(torch.nn.ReLU(), torch.ones(1)), str(tmp_path / "program.pt"))
    with pytest.raises(UserError, match="program.pt is a TorchScript program") as error:
        read_checkpoint(tmp_path / "program.pt")
    assert "weights_only" not in str(error.value)


def test_a_file_of_another_kind(tmp_path):
    with pytest.raises(UserError, match="there is no file .*missing.pth"):
        read_checkpoint(tmp_path / "missing.pth")
    (tmp_path / "weights.h5").write_bytes(b"x")
    with pytest.raises(UserError, match=r"weights.h5 is neither .safetensors nor .pth, .pt"):
        as_state_dict(tmp_path / "weights.h5")


def test_a_file_of_something_else(tmp_path):
    torch = pytest.importorskip("torch")
    torch.save([torch.ones(2)], tmp_path / "list.pt")
    with pytest.raises(UserError, match="list.pt contains a list, expected a state dict"):
        as_state_dict(tmp_path / "list.pt")
