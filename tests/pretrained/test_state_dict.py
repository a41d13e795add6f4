import numpy as np
import pytest

from cnn_jax.errors import ConfigError
from cnn_jax.pretrained.state_dict import as_state_dict, to_numpy

STATE = {"fc.weight": np.arange(6.0, dtype=np.float32).reshape(2, 3), "fc.bias": np.ones(2)}


def assert_same(actual, expected=STATE):
    assert actual.keys() == expected.keys()
    for name, value in expected.items():
        np.testing.assert_array_equal(actual[name], value)


@pytest.mark.parametrize("container", ["state_dict", "model_state_dict", "model", "net"])
@pytest.mark.parametrize(
    "prefix", ["", "module.", "_orig_mod.", "model.", "module._orig_mod.model.", "model._orig_mod."]
)
def test_wrappers_and_prefixes_of_training_scripts(container, prefix):
    prefixed = {f"{prefix}{name}": value for name, value in STATE.items()}
    counted = prefixed | {f"{prefix}bn1.num_batches_tracked": np.asarray(3)}
    assert_same(as_state_dict({container: counted, "epoch": 90, "optimizer": {"lr": 0.1}}))
    assert_same(as_state_dict({container: {"state_dict": counted}, "epoch": 90}))


def test_a_prefix_that_not_all_names_have_belongs_to_the_name():
    mixed = {"module.a": np.ones(1), "b": np.ones(1)}
    assert as_state_dict(mixed).keys() == mixed.keys()


def test_one_of_several_networks_is_chosen_by_its_prefix():
    networks = {f"module.encoder_q.{name}": value for name, value in STATE.items()}
    networks |= {f"module.encoder_k.{name}": -value for name, value in STATE.items()}
    networks["module.queue"] = np.ones((4, 3))
    assert_same(as_state_dict({"state_dict": networks}, prefix="encoder_q."))
    with pytest.raises(ConfigError, match="begins with 'backbone.'; .* 'encoder_q.', 'encoder_k.'"):
        as_state_dict(networks, prefix="backbone.")


@pytest.mark.parametrize("key", ["state_dict_ema", "model_ema", "ema_state_dict", "ema"])
def test_averaged_weights_are_taken_and_said(key):
    last = {name: value - 1 for name, value in STATE.items()}
    both = {"model": last, key: {f"module.{name}": value for name, value in STATE.items()}}
    with pytest.warns(UserWarning, match=f"'model'.*average \\('{key}'\\).*averaged=False"):
        assert_same(as_state_dict(both))
    assert_same(as_state_dict(both, averaged=True))
    assert_same(as_state_dict(both, averaged=False), last)
    assert_same(as_state_dict({key: STATE}))
    with pytest.raises(ConfigError, match="only averaged weights"):
        as_state_dict({key: STATE}, averaged=False)
    with pytest.raises(ConfigError, match="no averaged weights"):
        as_state_dict({"model": last}, averaged=True)


def test_an_averaged_model_of_pytorch():
    torch = pytest.importorskip("torch")
    model = torch.nn.Linear(3, 2)
    averaged = torch.optim.swa_utils.AveragedModel(model)
    averaged.update_parameters(model)
    state = averaged.state_dict()
    assert "n_averaged" in state
    for source in (state, {"model_ema": state}):
        assert as_state_dict(source, averaged=True).keys() == {"weight", "bias"}
    with pytest.raises(ConfigError, match="only averaged weights"):
        as_state_dict(state, averaged=False)


def test_what_is_no_state_dict():
    with pytest.raises(ConfigError, match="this is not a state dict: epoch, lr are not arrays"):
        as_state_dict({"epoch": 3, "lr": 0.1})
    with pytest.raises(ConfigError, match="this contains no weights"):
        as_state_dict({})


def test_names_are_text():
    with pytest.raises(ConfigError, match="0 is a key of type int, expected names such as"):
        as_state_dict({0: np.ones(2)})


def test_tensors_without_ordinary_values_are_named():
    torch = pytest.importorskip("torch")
    for tensor, message in [
        (torch.ones(2, device="meta"), r"no values \(device meta\)"),
        (torch.eye(2).to_sparse(), "not dense .*to_dense"),
        (Quantized(), "is quantized"),
        (np.array([None, 1]), "has the dtype object"),
    ]:
        with pytest.raises(ConfigError, match=f"fc.bias in this .*{message}"):
            as_state_dict({"fc.weight": torch.ones(2), "fc.bias": tensor})


class Quantized:
    """Stands for a quantized tensor, which PyTorch warns about when it is made."""

    shape, dtype = (2,), "torch.qint8"
    is_meta, is_quantized = False, True
    detach = None


@pytest.mark.parametrize("dtype", ["bfloat16", "float16", "float8_e4m3fn", "float8_e5m2"])
def test_short_floating_point_becomes_float32(dtype):
    torch = pytest.importorskip("torch")
    array = to_numpy(torch.tensor([0.5, -3.0]).to(getattr(torch, dtype)))
    assert array.dtype == np.float32 and array.tolist() == [0.5, -3.0]
