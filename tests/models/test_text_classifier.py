import jax
import jax.numpy as jnp
import numpy as np
import pytest

from cnn_jax.errors import ConfigError
from cnn_jax.models import TextClassifier
from tests.tolerance import assert_close

TOKENS = np.array([[3, 1, 4, 1, 5], [2, 0, -1, -1, -1]], np.int32)
SIZES = {"vocabulary": 6, "num_classes": 3, "embedding": 4, "features": 5, "dropout": 0.0}


def drawn(model, tokens=TOKENS):
    """Variables in float64."""
    shapes = jax.eval_shape(model.init, jax.random.key(0), tokens)
    rng = np.random.default_rng(0)
    return jax.tree.map(lambda leaf: jnp.asarray(rng.standard_normal(leaf.shape)), shapes)


@pytest.mark.parametrize("pooling", ["mean", "max", "last"])
def test_padding_changes_nothing(pooling):
    with jax.enable_x64(True):
        for body in ("cnn", "gru") if pooling == "max" else ("gru",):
            model = TextClassifier(**SIZES, body=body, pooling=pooling, widths=(2, 3))
            variables = drawn(model)
            logits = model.apply(variables, TOKENS)
            assert logits.shape == (2, 3)
            assert_close(model.apply(variables, TOKENS[1:, :2])[0], logits[1])


def test_the_convolutions_are_kims():
    torch = pytest.importorskip("torch", reason="torch is not installed")
    with jax.enable_x64(True):
        model = TextClassifier(**SIZES, body="cnn", widths=(2, 3))
        variables = drawn(model)
        params = jax.tree.map(lambda leaf: torch.tensor(np.asarray(leaf)), variables["params"])
        x = params["embedding"][torch.tensor(TOKENS[:1])].transpose(1, 2)
        pooled = []
        for width in (2, 3):
            one = params[f"convolution{width}"]
            kernel = one["kernel"][0].permute(2, 1, 0)
            maps = torch.nn.functional.conv1d(x, kernel, one["bias"], padding=width - 1)
            pooled.append(maps.relu().max(dim=2).values)
        head = params["head"]
        expected = torch.cat(pooled, dim=1) @ head["kernel"] + head["bias"]
        assert_close(model.apply(variables, TOKENS[:1]), expected.numpy())


@pytest.mark.parametrize("pooling", ["mean", "max", "last"])
def test_the_recurrence_is_pytorchs(pooling):
    torch = pytest.importorskip("torch", reason="torch is not installed")
    with jax.enable_x64(True):
        model = TextClassifier(**SIZES, body="lstm", pooling=pooling)
        variables = drawn(model)
        params = jax.tree.map(lambda leaf: torch.tensor(np.asarray(leaf)), variables["params"])
        theirs = torch.nn.LSTM(4, 5, bidirectional=True, batch_first=True, dtype=torch.float64)
        short = {"weight": "kernel", "bias": "bias", "ih": "input", "hh": "hidden"}
        with torch.no_grad():
            for name, parameter in theirs.named_parameters():
                kind, part, _, *reverse = name.split("_")
                layer = params["body"]["_".join(["layer0", *reverse])]
                ours = layer[f"{short[part]}_{short[kind]}"]
                parameter.copy_(ours.T if ours.ndim == 2 else ours)
            outputs, (hidden, _) = theirs(params["embedding"][torch.tensor(TOKENS[:1])])
            pooled = {
                "mean": outputs.mean(dim=1),
                "max": outputs.max(dim=1).values,
                "last": torch.cat([hidden[0], hidden[1]], dim=1),
            }[pooling]
            head = params["head"]
            expected = pooled @ head["kernel"] + head["bias"]
        assert_close(model.apply(variables, TOKENS[:1]), expected.numpy())


def test_what_is_refused(no_shape_hook):
    for options, message in (
        ({"body": "transformer"}, "body must be"),
        ({"pooling": "sum"}, "pooling must be"),
        ({"features": 0}, "features must be at least 1, got 0"),
        ({"widths": (3, 0)}, r"widths must be at least 1, got \(3, 0\)"),
    ):
        with pytest.raises(ConfigError, match=message):
            TextClassifier(**SIZES | options)
