import numpy as np
import pytest

from cnn_jax.errors import ConfigError, UserError
from cnn_jax.pretrained.state_dict import as_state_dict

STATE = {"fc.weight": np.arange(6.0, dtype=np.float32).reshape(2, 3), "fc.bias": np.ones(2)}


def assert_same(actual, expected=STATE):
    assert actual.keys() == expected.keys()
    for name, value in expected.items():
        np.testing.assert_array_equal(actual[name], value)


@pytest.mark.parametrize("container", ["state_dict", "model_state_dict", "model"])
def test_wrappers_and_prefixes_of_training_scripts(container):
    prefixed = {f"module.{name}": value for name, value in STATE.items()}
    counted = prefixed | {"module.bn1.num_batches_tracked": np.asarray(3)}
    assert_same(as_state_dict({container: counted, "epoch": 90, "optimizer": {"lr": 0.1}}))


def test_a_prefix_that_not_all_names_have_belongs_to_the_name():
    mixed = {"module.a": np.ones(1), "b": np.ones(1)}
    assert as_state_dict(mixed).keys() == mixed.keys()


def test_what_is_no_state_dict():
    with pytest.raises(ConfigError, match="this is not a state dict: epoch, lr are not arrays"):
        as_state_dict({"epoch": 3, "lr": 0.1})
    with pytest.raises(ConfigError, match="this contains no weights"):
        as_state_dict({})


def test_safetensors(tmp_path):
    safetensors = pytest.importorskip("safetensors.numpy")
    ml_dtypes = pytest.importorskip("ml_dtypes")
    path = tmp_path / "model.safetensors"
    safetensors.save_file(STATE | {"half": np.ones(2, ml_dtypes.bfloat16)}, path)
    state = as_state_dict(path)
    assert state["half"].dtype == np.float32 and state["fc.bias"].dtype == np.float64
    assert_same(state, STATE | {"half": np.ones(2)})
    content = path.read_bytes()
    for damaged in (content[:-5], content[:20], b"", b"<html>not found</html>"):
        path.write_bytes(damaged)
        with pytest.raises(UserError, match=r"bytes\) is not a complete safetensors file: "):
            as_state_dict(path)


@pytest.mark.parametrize("suffix", ["pth", "pt", "bin", "pth.tar"])
def test_torch_files(tmp_path, suffix):
    torch = pytest.importorskip("torch")
    tensors = {name: torch.tensor(value) for name, value in STATE.items()}
    tensors["half"] = torch.ones(2, dtype=torch.bfloat16)
    tensors["scale"] = torch.nn.Parameter(torch.ones(2))
    path = tmp_path / f"checkpoint.{suffix}"
    torch.save({"epoch": 3, "state_dict": tensors}, path)
    state = as_state_dict(str(path))
    assert_same(state, STATE | {"half": np.ones(2), "scale": np.ones(2)})
    assert state["half"].dtype == np.float32


def test_damaged_torch_files(tmp_path):
    torch = pytest.importorskip("torch")
    path = tmp_path / "model.pth"
    torch.save({name: torch.tensor(value) for name, value in STATE.items()}, path)
    content = path.read_bytes()
    for damaged in (content[: len(content) // 2], b"", b"<html>not found</html>", b"\x80\x02"):
        path.write_bytes(damaged)
        with pytest.raises(UserError, match=r"is not a complete PyTorch checkpoint of tensors: "):
            as_state_dict(path)


def test_code_in_a_file_is_not_run(tmp_path):
    torch = pytest.importorskip("torch")
    torch.save(Trap(), tmp_path / "model.pth")
    with pytest.raises(UserError, match="could run code and is not loaded: save model.state_d"):
        as_state_dict(tmp_path / "model.pth")
    assert Trap.sprung == 0


class Trap:
    sprung = 0

    def __reduce__(self):
        return spring, ()


def spring():
    Trap.sprung += 1


def test_a_file_of_another_kind(tmp_path):
    with pytest.raises(UserError, match="there is no file .*missing.pth"):
        as_state_dict(tmp_path / "missing.pth")
    (tmp_path / "weights.h5").write_bytes(b"x")
    with pytest.raises(UserError, match=r"weights.h5 is neither .safetensors nor .pth, .pt"):
        as_state_dict(tmp_path / "weights.h5")


def test_a_file_of_something_else(tmp_path):
    torch = pytest.importorskip("torch")
    torch.save([torch.ones(2)], tmp_path / "list.pt")
    with pytest.raises(UserError, match="list.pt contains a list, expected a state dict"):
        as_state_dict(tmp_path / "list.pt")
