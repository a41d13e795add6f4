import jax
import jax.numpy as jnp
import numpy as np
import pytest

from cnn_jax.models import MLP, create_model
from tests.references.weights import weights
from tests.tolerance import assert_close


def init(model, x):
    return jax.jit(model.init)(jax.random.key(0), x)


def parameters(model, *shape):
    shapes = jax.eval_shape(model.init, jax.random.key(0), jnp.zeros((2, *shape)))
    return sum(leaf.size for leaf in jax.tree.leaves(shapes["params"]))


def test_parameters():
    """Every layer has inputs x outputs + outputs."""
    expected = 785 * 256 + 257 * 128 + 129 * 100 + 101 * 10
    assert parameters(create_model("mlp"), 28, 28, 1) == expected == 247_766
    assert parameters(create_model("mlp", hidden=(), num_classes=3), 5) == 6 * 3
    # BatchNorm has a scale and a shift, which replaces the layer's own.
    assert parameters(MLP((7,), 3, norm="batch"), 5) == 5 * 7 + 2 * 7 + 8 * 3


def test_any_shape_is_one_vector_an_example():
    model, x = MLP((4, 3), 2), jnp.asarray(np.random.default_rng(0).standard_normal((5, 2, 3, 1)))
    variables = init(model, x)
    assert_close(model.apply(variables, x), model.apply(variables, x.reshape(5, 6)), rtol=1e-6)
    assert model.apply(variables, x[:0]).shape == (0, 2)
    assert model.apply(variables, x[:1]).shape == (1, 2)


def test_features_are_the_hidden_layers_in_forward_order():
    model, x = MLP((4, 3), 2), jnp.ones((5, 6))
    variables = init(model, x)
    features = model.apply(variables, x, method="features")
    assert [(name, value.shape) for name, value in features.items()] == [
        ("hidden1", (5, 4)),
        ("hidden2", (5, 3)),
    ]
    head = variables["params"]["head"]
    assert_close(
        model.apply(variables, x),
        features["hidden2"] @ head["kernel"] + head["bias"][None],
        rtol=1e-6,
    )
    assert MLP((), 2).apply(init(MLP((), 2), x), x, method="features") == {}


def variables_of(state):
    """Our variables of `torch.nn.Sequential(Linear, activation, …)`'s weights, by layer number."""
    *hidden, head = sorted({int(name.split(".")[0]) for name in state})
    layer = {
        n: {"kernel": state[f"{n}.weight"].T, "bias": state[f"{n}.bias"]} for n in (*hidden, head)
    }
    body = {f"hidden{i}": layer[n] for i, n in enumerate(hidden, start=1)}
    return {"params": {"body": body, "head": layer[head]}}


def loss_and_gradients(model, variables, x, cotangent):
    def loss(params, x):
        outputs = model.apply({"params": params}, x, train=True)
        return jnp.sum(outputs * cotangent), outputs

    gradients, outputs = jax.jit(jax.grad(loss, argnums=(0, 1), has_aux=True))(
        variables["params"], x
    )
    return outputs, *gradients


SHAPES = {
    "0.weight": (7, 5),
    "0.bias": (7,),
    "2.weight": (6, 7),
    "2.bias": (6,),
    "4.weight": (3, 6),
    "4.bias": (3,),
}
STATE = weights(SHAPES)
X = np.random.default_rng(0).standard_normal((4, 5))
COTANGENT = np.random.default_rng(1).standard_normal((4, 3))


def test_equals_numpy():
    """Outputs, and gradients by the chain rule, layer by layer."""
    a = [X]
    for n in (0, 2):
        a.append(np.tanh(a[-1] @ STATE[f"{n}.weight"].T + STATE[f"{n}.bias"]))
    outputs = a[-1] @ STATE["4.weight"].T + STATE["4.bias"]
    gradients, delta = {}, COTANGENT
    for n, inputs in ((4, a[2]), (2, a[1]), (0, a[0])):
        gradients |= {f"{n}.weight": delta.T @ inputs, f"{n}.bias": delta.sum(0)}
        delta = delta @ STATE[f"{n}.weight"] * (1 - inputs**2 if n else 1)
    with jax.enable_x64(True):
        actual = loss_and_gradients(MLP((7, 6), 3, "tanh"), variables_of(STATE), X, COTANGENT)
    assert_close(actual, (outputs, variables_of(gradients)["params"], delta))


@pytest.mark.parametrize(
    ("activation", "theirs"), [("sigmoid", "Sigmoid"), ("elu", "ELU"), ("leaky_relu", "LeakyReLU")]
)
def test_equals_torch_sequential(activation, theirs):
    torch = pytest.importorskip("torch", reason="torch is not installed")
    nonlinear = getattr(torch.nn, theirs)
    network = torch.nn.Sequential(
        torch.nn.Linear(5, 7),
        nonlinear(),
        torch.nn.Linear(7, 6),
        nonlinear(),
        torch.nn.Linear(6, 3),
    ).double()
    network.load_state_dict({name: torch.tensor(value) for name, value in STATE.items()})
    x = torch.tensor(X, requires_grad=True)
    outputs = network(x)
    torch.sum(outputs * torch.tensor(COTANGENT)).backward()
    gradients = {name: value.grad.numpy() for name, value in network.named_parameters()}
    with jax.enable_x64(True):
        actual = loss_and_gradients(MLP((7, 6), 3, activation), variables_of(STATE), X, COTANGENT)
    expected = outputs.detach().numpy(), variables_of(gradients)["params"], x.grad.numpy()
    assert_close(actual, expected)


def test_batch_norm_stands_before_the_activation():
    """So that each neuron is active for about half of the batch, whatever its weights."""
    model, x = MLP((50,), 2, norm="batch"), 5 + jax.random.normal(jax.random.key(1), (64, 6))
    variables = init(model, x)
    assert "bias" not in variables["params"]["body"]["hidden1"]
    features, updated = model.apply(
        variables, x, train=True, method="features", mutable=["batch_stats"]
    )
    active = np.mean(np.asarray(features["hidden1"]) > 0, axis=0)
    assert active.min() > 0.25 and active.max() < 0.75
    moved = updated["batch_stats"]["body"]["norm1"]["mean"]
    assert np.all(moved != variables["batch_stats"]["body"]["norm1"]["mean"])
    frozen = MLP((50,), 2, norm="frozen")
    kept = frozen.apply(variables, x, train=True, mutable=["batch_stats"])[1]
    assert_close(kept["batch_stats"], variables["batch_stats"], rtol=0, atol=0)


def test_dropout_is_for_training_alone():
    model, x = MLP((200,), 2, "sigmoid", dropout=0.25), jnp.ones((20, 6))
    variables = init(model, x)
    plain = MLP((200,), 2, "sigmoid").apply(variables, x, method="features")["hidden1"]
    np.testing.assert_array_equal(model.apply(variables, x, method="features")["hidden1"], plain)
    dropped = np.asarray(
        model.apply(
            variables, x, train=True, rngs={"dropout": jax.random.key(1)}, method="features"
        )["hidden1"]
    )
    kept = dropped != 0
    assert abs(np.mean(kept) - 0.75) < 0.03
    assert_close(dropped[kept], np.asarray(plain)[kept] / 0.75, rtol=1e-6)


@pytest.mark.parametrize(
    ("kernel_init", "variance", "bias"),
    [("torch", 1 / (3 * 64), 1 / 8), ("he", 2 / 64, 0), ("glorot", 2 / (64 + 300), 0)],
)
def test_initialization(kernel_init, variance, bias):
    layer = init(MLP((300,), 2, kernel_init=kernel_init), jnp.zeros((1, 64)))["params"]["body"]
    kernel = np.asarray(layer["hidden1"]["kernel"])
    assert np.var(kernel) == pytest.approx(variance, rel=0.05)
    # "he" is normal, the others are uniform.
    assert (np.abs(kernel).max() > 2 * np.std(kernel)) == (kernel_init == "he")
    assert 0.9 * bias <= np.abs(layer["hidden1"]["bias"]).max() <= bias


def test_bfloat16_leaves_parameters_and_outputs_in_float32():
    model, x = MLP((8, 8), 3, dtype=jnp.bfloat16, norm="batch"), jnp.ones((4, 5))
    variables = init(model, x)
    outputs, updated = model.apply(variables, x, train=True, mutable=["batch_stats"])
    kept = jax.tree.leaves((variables, updated, outputs))
    assert {leaf.dtype for leaf in kept} == {jnp.dtype(jnp.float32)}
    features = model.apply(variables, x, method="features")
    assert {leaf.dtype for leaf in features.values()} == {jnp.dtype(jnp.bfloat16)}


@pytest.mark.parametrize(
    ("attributes", "message"),
    [
        ({"activation": "rellu"}, "unknown activation 'rellu'; did you mean relu"),
        ({"kernel_init": "xavier"}, "kernel_init must be one of 'torch', 'he', 'glorot', got"),
        ({"norm": "layer"}, "norm must be one of 'none', 'batch', 'frozen', got 'layer'"),
        ({"hidden": (8, 0)}, r"every hidden layer needs at least one neuron, got hidden=\(8, 0\)"),
    ],
)
@pytest.mark.usefixtures("no_shape_hook")
def test_attributes_that_make_no_sense_are_refused(attributes, message):
    with pytest.raises(ValueError, match=message):
        MLP(**attributes)


@pytest.mark.usefixtures("no_shape_hook")
def test_an_input_without_a_batch_is_refused():
    with pytest.raises(ValueError, match=r"expected a batch of examples, .* got shape \(5,\)"):
        MLP((3,), 2).init(jax.random.key(0), jnp.zeros(5))
