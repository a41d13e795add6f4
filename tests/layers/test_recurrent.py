"""RNN, LSTM and GRU against PyTorch, and what PyTorch does not have against their definitions."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.test_util import check_grads

from cnn_jax import layers
from cnn_jax.errors import ConfigError
from cnn_jax.layers.recurrent import Recurrence
from tests.tolerance import assert_close

MAKE = {
    "RNN": layers.RNN,
    "RNN relu": functools.partial(layers.RNN, activation="relu"),
    "LSTM": layers.LSTM,
    "GRU": layers.GRU,
}
CHANNELS, FEATURES, BATCH = 3, 4, 3


def sequences(time: int, seed: int = 0) -> jax.Array:
    return jnp.asarray(np.random.default_rng(seed).standard_normal((BATCH, time, CHANNELS)))


def drawn(module, time=2):
    """Variables in float64, so that no gate is near its middle."""
    variables = module.init(jax.random.key(0), jnp.zeros((1, time, CHANNELS)), train=False)
    rng = np.random.default_rng(1)
    return jax.tree.map(lambda leaf: jnp.asarray(rng.standard_normal(leaf.shape)), variables)


def by_path(tree):
    leaves = jax.tree.leaves_with_path(tree)
    return {"/".join(key.key for key in path): leaf for path, leaf in leaves}


def torch_layer(kind: str, ours, variables):
    """PyTorch's layer with the same weights."""
    torch = pytest.importorskip("torch", reason="torch is not installed")
    extra = {"nonlinearity": "relu"} if kind == "RNN relu" else {}
    theirs = getattr(torch.nn, kind.split()[0])(
        CHANNELS,
        FEATURES,
        ours.layers,
        batch_first=True,
        bidirectional=ours.bidirectional,
        dtype=torch.float64,
        **extra,
    )
    named = {
        "/".join(k.key for k in path): leaf for path, leaf in jax.tree.leaves_with_path(variables)
    }
    state = {
        name: torch.tensor(np.asarray(named[path]).T) for name, path in ours.torch_names().items()
    }
    assert len(state) == len(named)
    theirs.load_state_dict(state)
    return torch, theirs


@pytest.mark.parametrize(
    ("count", "bidirectional", "time", "lengths"),
    [(2, True, 5, [5, 1, 3]), (1, False, 200, None)],
)
@pytest.mark.parametrize("kind", MAKE)
def test_outputs_states_and_gradients_are_pytorchs(kind, count, bidirectional, time, lengths):
    with jax.enable_x64(True):
        ours = MAKE[kind](FEATURES, layers=count, bidirectional=bidirectional)
        variables, x = drawn(ours), sequences(time)
        torch, theirs = torch_layer(kind, ours, variables)
        of_lengths = None if lengths is None else jnp.asarray(lengths)
        # Small weights: over 200 steps the largest states would grow without bound.
        scale = 0.3
        variables = jax.tree.map(lambda leaf: scale * leaf, variables)
        with torch.no_grad():
            for parameter in theirs.parameters():
                parameter.mul_(scale)

        def loss(variables, x):
            outputs, state = ours.apply(variables, x, lengths=of_lengths, train=False)
            flat = jnp.stack(jax.tree.leaves(state))
            return jnp.sum(jnp.sin(outputs)) + jnp.sum(jnp.cos(flat)), (outputs, state)

        (gradients, of_x), (outputs, state) = jax.jit(jax.grad(loss, argnums=(0, 1), has_aux=True))(
            variables, x
        )
        their_x = torch.tensor(np.asarray(x), requires_grad=True)
        packed = their_x
        if lengths is not None:
            packed = torch.nn.utils.rnn.pack_padded_sequence(
                their_x, torch.tensor(lengths), batch_first=True, enforce_sorted=False
            )
        their_outputs, their_state = theirs(packed)
        if lengths is not None:
            their_outputs, _ = torch.nn.utils.rnn.pad_packed_sequence(
                their_outputs, batch_first=True, total_length=time
            )
        parts = their_state if isinstance(their_state, tuple) else (their_state,)
        total = torch.sin(their_outputs).sum() + sum(torch.cos(part).sum() for part in parts)
        total.backward()
        assert_close(outputs, their_outputs.detach().numpy())
        ours_by_part = [jnp.stack(part) for part in zip(*map(jax.tree.leaves, state), strict=True)]
        assert_close(ours_by_part, [part.detach().numpy() for part in parts])
        assert_close(of_x, their_x.grad.numpy())
        named = {
            "/".join(k.key for k in path): leaf
            for path, leaf in jax.tree.leaves_with_path(gradients)
        }
        for name, parameter in theirs.named_parameters():
            assert_close(named[ours.torch_names()[name]], parameter.grad.numpy().T)


@pytest.mark.parametrize("kind", MAKE)
def test_a_sequence_in_two_parts_is_the_whole(kind):
    with jax.enable_x64(True):
        ours = MAKE[kind](FEATURES, layers=2)
        variables, x = drawn(ours), sequences(7)
        whole, last = ours.apply(variables, x, train=False)
        first, state = ours.apply(variables, x[:, :3], train=False)
        second, end = ours.apply(variables, x[:, 3:], state, train=False)
        assert_close(jnp.concatenate([first, second], axis=1), whole)
        assert_close(end, last)


def test_peepholes_see_the_cell():
    """Two steps by the equations of Gers and Schmidhuber."""
    with jax.enable_x64(True):
        ours = layers.LSTM(FEATURES, peepholes=True)
        variables, x = drawn(ours), sequences(2)
        outputs, _ = ours.apply(variables, x, train=False)
        p = {name: np.asarray(leaf) for name, leaf in variables["params"]["layer0"].items()}
        h = c = np.zeros((BATCH, FEATURES))

        def sigmoid(a):
            return 1 / (1 + np.exp(-a))

        for step in range(2):
            gates = np.asarray(x)[:, step] @ p["input_kernel"] + h @ p["hidden_kernel"]
            i, f, g, o = np.split(gates + p["input_bias"] + p["hidden_bias"], 4, axis=1)
            w_i, w_f, w_o = p["peepholes"]
            c = sigmoid(f + w_f * c) * c + sigmoid(i + w_i * c) * np.tanh(g)
            h = sigmoid(o + w_o * c) * np.tanh(c)
            assert_close(outputs[:, step], h)


@pytest.mark.parametrize("kind", MAKE)
def test_layer_norm_takes_the_scale_out_of_the_products(kind):
    """Inputs a thousand times as large give the same outputs, but for eps."""
    with jax.enable_x64(True):
        ours = MAKE[kind](FEATURES, layer_norm=True)
        variables, x = drawn(ours), sequences(3)
        params = variables["params"]["layer0"]
        assert ("cell_norm_scale" in params) == (kind == "LSTM")
        outputs, _ = ours.apply(variables, 1e3 * x, train=False)
        larger, _ = ours.apply(variables, 1e6 * x, train=False)
        assert_close(larger, outputs, rtol=1e-5)
        plain, _ = MAKE[kind](FEATURES).apply(variables, x, train=False)
        assert np.abs(np.asarray(plain - outputs)).max() > 0.01


def test_variational_dropout_drops_a_feature_in_all_steps():
    layer = Recurrence("tanh", FEATURES, variational_dropout=0.5)
    x = jnp.ones((64, 6, CHANNELS))
    variables = layer.init(jax.random.key(0), x, None, None, train=False)
    # Nothing but the inputs' first channel, as it is.
    kernel = jnp.zeros((CHANNELS, FEATURES)).at[0, 0].set(0.25)
    zeros = jax.tree.map(jnp.zeros_like, variables["params"]) | {"input_kernel": kernel}
    key = {"dropout": jax.random.key(1)}
    _, outputs = layer.apply({"params": zeros}, x, None, None, train=True, rngs=key)
    first = np.asarray(outputs[:, :, 0])
    assert np.all(first == first[:, :1])
    assert set(np.round(np.arctanh(first[:, 0]), 5)) == {0.0, 0.5}
    # The state, too: each of its features is dropped in all steps, or in none.
    held = zeros | {"hidden_kernel": jnp.eye(FEATURES), "input_kernel": jnp.zeros_like(kernel)}
    start = jnp.full((64, FEATURES), 0.1)
    _, outputs = layer.apply({"params": held}, x, start, None, train=True, rngs=key)
    kept = np.asarray(outputs) > 0
    assert np.all(kept == kept[:, :1]) and 0.3 < kept.mean() < 0.7


def test_dropout_is_between_the_layers():
    ours = layers.LSTM(FEATURES, layers=2, dropout=1.0)
    x = jnp.ones((2, 3, CHANNELS))
    variables = ours.init(jax.random.key(0), x, train=False)
    rngs = {"dropout": jax.random.key(0)}
    outputs, _ = ours.apply(variables, x, train=True, rngs=rngs)
    # The second layer has zeros as inputs, so that all examples and their inputs are alike.
    other, _ = ours.apply(variables, -x, train=True, rngs=rngs)
    assert_close(outputs, other)
    evaluated, _ = ours.apply(variables, x, train=False)
    assert np.abs(np.asarray(evaluated - outputs)).max() > 1e-3


def test_gradients_equal_finite_differences():
    with jax.enable_x64(True):
        for ours in (
            layers.LSTM(2, peepholes=True, layer_norm=True),
            layers.GRU(2, bidirectional=True, layer_norm=True),
        ):
            variables, x = drawn(ours), sequences(3)
            lengths = jnp.asarray([3, 1, 2])

            @jax.jit
            def outputs(variables, x, ours=ours, lengths=lengths):
                return ours.apply(variables, x, lengths=lengths, train=False)

            check_grads(outputs, (variables, x), order=1, modes=["fwd", "rev"], eps=1e-5)


def test_second_derivatives_equal_finite_differences():
    """The kernel's derivative is our own: it must have derivatives too."""
    with jax.enable_x64(True):
        ours = layers.LSTM(2)
        variables, x = drawn(ours), sequences(3)

        @jax.jit
        def along(t):
            moved = jax.tree.map(lambda leaf: leaf + t * jnp.cos(leaf), variables)
            return jnp.sum(jnp.sin(ours.apply(moved, x, train=False)[0]))

        check_grads(along, (0.3,), order=2, modes=["fwd", "rev"], eps=1e-4)


@pytest.mark.parametrize("kind", MAKE)
def test_half_precision_keeps_the_state_in_float32(kind):
    ours = MAKE[kind](FEATURES, dtype=jnp.bfloat16)
    x = sequences(5).astype(jnp.float32)
    variables = ours.init(jax.random.key(0), x, train=False)
    outputs, state = jax.jit(functools.partial(ours.apply, train=False))(variables, x)
    assert outputs.dtype == jnp.bfloat16
    assert {leaf.dtype for leaf in jax.tree.leaves(state)} == {jnp.dtype(jnp.float32)}
    expected, _ = MAKE[kind](FEATURES).apply(variables, x, train=False)
    assert_close(outputs.astype(jnp.float32), expected, rtol=0.03)


@pytest.mark.usefixtures("no_shape_hook")
def test_wrong_arguments_are_named():
    x = jnp.ones((2, 3, CHANNELS))
    with pytest.raises(ConfigError, match="features must be at least 1, got 0"):
        layers.LSTM(0)
    with pytest.raises(ConfigError, match="layers must be at least 1, got 0"):
        layers.GRU(4, layers=0)
    with pytest.raises(ConfigError, match=r"x must have the axes \[batch, time, channels\]"):
        layers.RNN(4).init(jax.random.key(0), x[0], train=False)
    ours = layers.GRU(4, bidirectional=True)
    variables = ours.init(jax.random.key(0), x, train=False)
    with pytest.raises(ConfigError, match="each of layer0, layer0_reverse, got 1"):
        ours.apply(variables, x, (jnp.ones((2, 4)),), train=False)
