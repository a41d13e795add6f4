"""The captioner against PyTorch: logits, loss and all gradients."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from cnn_jax.errors import ConfigError
from cnn_jax.layers import LSTMState
from cnn_jax.models import Captioner, SimpleCNN, create_model
from tests.tolerance import assert_close

WORDS = 9
IMAGES = np.random.default_rng(0).standard_normal((2, 8, 12, 3))
TOKENS = np.array([[[0, 3, 8, 4], [0, 5, 5, 2]], [[0, 7, 1, 6], [0, 2, 3, 1]]], np.int32)
ENCODER = SimpleCNN((4, 6), norm="none", num_classes=0)
SIZES = {"encoder": ENCODER, "features": 5, "embedding": 7}


def drawn(model):
    """Variables in float64."""
    shapes = jax.eval_shape(model.init, jax.random.key(0), IMAGES, TOKENS)
    rng = np.random.default_rng(1)
    return jax.tree.map(lambda leaf: jnp.asarray(rng.standard_normal(leaf.shape) / 2), shapes)


def theirs(torch, params, cell, places, targets):
    """The same network in PyTorch: logits and mean loss, after which params have gradients."""
    functional = torch.nn.functional
    maps = torch.tensor(IMAGES).permute(0, 3, 1, 2)
    for stage in ("stem", "stage1"):
        layer = params["backbone"]["body"][f"{stage}_conv"]
        kernel = layer["kernel"].permute(3, 2, 0, 1)
        maps = functional.conv2d(maps, kernel, layer["bias"], padding=1)
        maps = functional.max_pool2d(maps.relu(), 2)
    pooled = functional.adaptive_avg_pool2d(maps, places).flatten(1)
    first = pooled @ params["image"]["kernel"] + params["image"]["bias"]
    words = params["language"]["embedding"][torch.tensor(TOKENS).long()]
    x = torch.cat([first[:, None, None].expand(-1, TOKENS.shape[1], 1, -1), words], dim=2)

    # The functions behind torch.nn.LSTM and GRU, so that our parameters get the gradients.
    layer = params["language"]["body"]["layer0"]
    weights = [
        *(layer["input_kernel"].T, layer["hidden_kernel"].T),
        *(layer["input_bias"], layer["hidden_bias"]),
    ]
    x = x.flatten(0, 1)
    zeros = torch.zeros(1, len(x), 5, dtype=torch.float64)
    state = (zeros, zeros) if cell == "lstm" else zeros
    # One layer with biases, without dropout, in one direction, batch first.
    outputs, *_ = getattr(torch, cell)(x, state, weights, True, 1, 0.0, True, False, True)
    head = params["language"]["head"]
    logits = outputs[:, 1:] @ head["kernel"] + head["bias"]
    loss = functional.cross_entropy(
        logits.flatten(0, 1), torch.tensor(targets).long().flatten(), ignore_index=-1
    )
    loss.backward()
    return logits.unflatten(0, TOKENS.shape[:2]), loss


@pytest.mark.parametrize(("cell", "places"), [("lstm", 1), ("gru", 2)])
def test_logits_loss_and_all_gradients_are_pytorchs(cell, places):
    torch = pytest.importorskip("torch", reason="torch is not installed")
    targets = np.concatenate([TOKENS[..., 1:], np.array([[[1], [-1]], [[-1], [1]]])], axis=2)
    with jax.enable_x64(True):
        model = Captioner(WORDS, **SIZES, cell=cell, places=places)
        params = drawn(model)["params"]
        tensors = jax.tree.map(
            lambda leaf: torch.tensor(np.asarray(leaf), requires_grad=True), params
        )
        logits, loss = theirs(torch, tensors, cell, places, targets)

        def mean_loss(params):
            ours = model.apply({"params": params}, IMAGES, TOKENS)
            log_p = jax.nn.log_softmax(ours)
            of_word = jnp.take_along_axis(log_p, jnp.maximum(targets, 0)[..., None], axis=-1)
            return -jnp.sum(of_word[..., 0] * (targets >= 0)) / jnp.sum(targets >= 0), ours

        (ours, our_logits), gradients = jax.value_and_grad(mean_loss, has_aux=True)(params)
    assert_close(our_logits, logits.detach().numpy())
    assert_close(ours, loss.item())
    assert_close(gradients, jax.tree.map(lambda leaf: leaf.grad.numpy(), tensors))


@pytest.mark.parametrize("cell", ["lstm", "gru"])
def test_word_by_word_it_gives_the_same_logits(cell):
    with jax.enable_x64(True):
        model = Captioner(WORDS, **SIZES, cell=cell, layers=2, places=2)
        variables = drawn(model)
        expected = model.apply(variables, IMAGES, TOKENS)
        state = model.apply(variables, IMAGES, method="begin")
        assert isinstance(state[0], LSTMState) == (cell == "lstm")
        for time in range(TOKENS.shape[2]):
            tokens = TOKENS[:, 0, time]
            logits, state = model.apply(variables, tokens, state, method="go_on")
            assert_close(logits, expected[:, 0, time])


def test_without_the_image_nothing_of_it_is_known():
    model = Captioner(WORDS, encoder=None, features=5, embedding=7)
    variables = model.init(jax.random.key(0), IMAGES, TOKENS)
    assert set(variables["params"]) == {"language"}
    logits = model.apply(variables, IMAGES, TOKENS)
    np.testing.assert_array_equal(logits, model.apply(variables, 2 * IMAGES, TOKENS))
    seen = Captioner(WORDS, **SIZES)
    variables = seen.init(jax.random.key(0), IMAGES, TOKENS)
    one, other = (seen.apply(variables, images, TOKENS) for images in (IMAGES, 2 * IMAGES))
    assert not np.allclose(one, other)


@pytest.mark.parametrize("cell", ["lstm", "gru"])
def test_parameters_are_those_of_the_formula(cell):
    places, gates = 2, {"lstm": 4, "gru": 3}[cell]
    model = Captioner(30, encoder="resnet18", cell=cell, features=11, embedding=7, places=places)
    image, tokens = np.zeros((1, 32, 32, 3), np.float32), np.zeros((1, 1, 2), np.int32)
    shapes = jax.eval_shape(model.init, jax.random.key(0), image, tokens)
    count = sum(leaf.size for leaf in jax.tree.leaves(shapes["params"]))
    # torchvision's ResNet-18 without its last layer of 512 x 1,000 weights and 1,000 biases.
    encoder = 11_689_512 - 513_000
    projection, table = (512 * places**2 + 1) * 7, 30 * 7
    assert count == encoder + projection + table + gates * 11 * (7 + 11 + 2) + (11 + 1) * 30
    assert set(shapes["params"]) == {"backbone", "image", "language"}


def test_dropout_half_precision_and_statistics():
    model = Captioner(WORDS, encoder="simple_cnn", features=5, embedding=7, dropout=0.5)
    variables = model.init(jax.random.key(0), IMAGES, TOKENS)
    keys = [{"dropout": jax.random.key(number)} for number in (0, 1)]
    (one, state), (other, _) = (
        model.apply(variables, IMAGES, TOKENS, train=True, rngs=key, mutable=["batch_stats"])
        for key in keys
    )
    assert not np.allclose(one, other)
    before, after = (jax.tree.leaves(of["batch_stats"]) for of in (variables, state))
    assert not np.allclose(before[0], after[0])
    half = model.clone(dtype=jnp.bfloat16)
    logits = half.apply(variables, IMAGES, TOKENS)
    assert logits.dtype == jnp.float32 and logits.shape == (2, 2, 4, WORDS)
    assert_close(logits, model.apply(variables, IMAGES, TOKENS), rtol=0.05)


@pytest.mark.usefixtures("no_shape_hook")
def test_what_is_refused():
    for options, message in (
        ({"cell": "transformer"}, "cell must be one of 'lstm', 'gru', 'rnn'"),
        ({"embedding": 0}, "embedding must be at least 1, got 0"),
        ({"places": 0}, "places must be at least 1, got 0"),
        ({"features": 0}, "features must be at least 1, got 0"),
        ({"norm": "none"}, "norm must be one of 'batch', 'frozen'"),
        ({"encoder": create_model("mlp")}, "MLP has no feature maps"),
    ):
        with pytest.raises(ConfigError, match=message):
            Captioner(WORDS, **SIZES | options).init(jax.random.key(0), IMAGES, TOKENS)
