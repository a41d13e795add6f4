import jax
import jax.numpy as jnp
import numpy as np
import pytest

from cnn_jax.layers import whitening_kernel
from cnn_jax.models import Airbench, create_model
from cnn_jax.tasks.losses import softmax_cross_entropy
from tests.tolerance import assert_close

SMALL = {"widths": (10, 12), "num_classes": 4}


def counts(model, *shape):
    shapes = jax.eval_shape(model.init, jax.random.key(0), jnp.zeros((1, *shape)))
    return {
        name: sum(leaf.size for leaf in jax.tree.leaves(collection))
        for name, collection in shapes.items()
    }


def test_parameters():
    convolutions = 9 * (24 * 64 + 64 * 64 + 64 * 256 + 3 * 256 * 256)
    biases = 2 * (64 + 256 + 256) + 24
    expected = convolutions + biases + 256 * 10
    assert counts(create_model("cifar_airbench94"), 32, 32, 3) == {
        "params": expected,
        "batch_stats": 2 * 2 * (64 + 256 + 256),
        "constants": 2 * 2 * 3 * 24,
    }
    assert expected == 1_971_352


@pytest.fixture(scope="module")
def images():
    return jax.random.normal(jax.random.key(1), (6, 12, 11, 2))


@pytest.fixture(scope="module")
def variables(images):
    return jax.jit(Airbench(**SMALL).init)(jax.random.key(0), images)


def test_features_are_in_forward_order(images, variables):
    features = Airbench(**SMALL).apply(variables, images, method="features")
    assert [(name, value.shape) for name, value in features.items()] == [
        ("stem", (6, 11, 10, 16)),
        ("stage1", (6, 5, 5, 10)),
        ("stage2", (6, 2, 2, 12)),
    ]


def test_convolutions_begin_as_the_identity_and_the_head_with_deviation_one(variables):
    body = variables["params"]["body"]
    narrowing, widening = (body[f"stage{n}_conv1"]["kernel"] for n in (1, 2))
    # 16 channels to 10, and 10 to 12.
    for kernel, passed in ((narrowing, 10), (widening, 10)):
        expected = np.zeros((3, 3, kernel.shape[2], passed))
        expected[1, 1, :passed] = np.eye(passed)
        assert_close(kernel[..., :passed], expected, rtol=0, atol=0)
    bound = 1 / np.sqrt(9 * 10)
    own = np.abs(widening[..., 10:])
    assert 0 < own.min() < 0.5 * bound < own.max() <= bound
    assert_close(np.std(variables["params"]["head"]["kernel"], ddof=1), 1.0, rtol=1e-6)


def test_training_leaves_the_whitening_alone(images, variables):
    model = Airbench(**SMALL)
    assert variables["params"]["body"]["whiten"].keys() == {"bias"}
    _, updated = model.apply(variables, images, train=True, mutable=["batch_stats", "constants"])
    assert_close(updated["constants"], variables["constants"], rtol=0, atol=0)
    moved = updated["batch_stats"]["body"]["stage1_norm1"]["mean"]
    assert float(jnp.abs(moved).min()) > 0


def drawn(variables, images):
    """Variables in float64 with random values everywhere, and the images' whitening kernel."""
    rng = np.random.default_rng(0)

    def draw(leaf):
        return jnp.asarray(0.3 * rng.normal(size=leaf.shape))

    params = jax.tree.map(draw, variables["params"])
    kernel = whitening_kernel(images, 2)
    return {
        "params": params,
        "batch_stats": jax.tree.map(lambda leaf: jnp.ones(leaf.shape), variables["batch_stats"]),
        "constants": {"body": {"whiten": {"kernel": kernel}}},
    }


LABELS = np.array([0, 1, 2, 3, 3, 1])


def our_step(variables, images):
    """Loss, output, gradients and new statistics of a training step, in float64."""
    model = Airbench(**SMALL)

    def loss(params):
        logits, updated = model.apply(
            {**variables, "params": params}, images, train=True, mutable=["batch_stats"]
        )
        losses = softmax_cross_entropy(logits, jnp.asarray(LABELS), label_smoothing=0.2)
        return jnp.sum(losses), (logits, updated["batch_stats"])

    (value, (logits, statistics)), gradients = jax.jit(jax.value_and_grad(loss, has_aux=True))(
        variables["params"]
    )
    return {"loss": value, "logits": logits, "gradients": gradients, "statistics": statistics}


def torch_step(variables, images):
    """The same, of the formulas of airbench94_muon.py written down in PyTorch."""
    torch = pytest.importorskip("torch", reason="torch is not installed")
    functional = torch.nn.functional
    body = jax.tree.map(
        lambda a: torch.tensor(np.asarray(a), requires_grad=True), variables["params"]["body"]
    )
    head = torch.tensor(np.asarray(variables["params"]["head"]["kernel"]), requires_grad=True)
    whitening = torch.tensor(np.asarray(variables["constants"]["body"]["whiten"]["kernel"]))
    statistics = {}

    def kernel_of(array):
        return array.permute(3, 2, 0, 1)

    def norm(x, name):
        channels = x.shape[1]
        layer = torch.nn.BatchNorm2d(channels, eps=1e-12, momentum=1 - 0.6, dtype=torch.float64)
        # New running means begin at 0 in PyTorch, these at 1.
        layer.running_mean.fill_(1.0)
        y = functional.batch_norm(
            x,
            layer.running_mean,
            layer.running_var,
            torch.ones(channels, dtype=torch.float64),
            body[name]["bias"],
            training=True,
            momentum=layer.momentum,
            eps=layer.eps,
        )
        statistics[name] = {"mean": layer.running_mean.numpy(), "var": layer.running_var.numpy()}
        return functional.gelu(y)

    x = torch.tensor(np.asarray(images)).permute(0, 3, 1, 2)
    x = functional.gelu(functional.conv2d(x, kernel_of(whitening), body["whiten"]["bias"]))
    for stage in (1, 2):
        x = functional.conv2d(x, kernel_of(body[f"stage{stage}_conv1"]["kernel"]), padding="same")
        x = norm(functional.max_pool2d(x, 2), f"stage{stage}_norm1")
        x = functional.conv2d(x, kernel_of(body[f"stage{stage}_conv2"]["kernel"]), padding="same")
        x = norm(x, f"stage{stage}_norm2")
    x = functional.max_pool2d(x, x.shape[2:]).flatten(1)
    logits = x @ head / x.shape[1]
    loss = functional.cross_entropy(
        logits, torch.tensor(LABELS), label_smoothing=0.2, reduction="sum"
    )
    loss.backward()
    return {
        "loss": loss.item(),
        "logits": logits.detach().numpy(),
        "gradients": {
            "body": jax.tree.map(lambda leaf: leaf.grad.numpy(), body),
            "head": {"kernel": head.grad.numpy()},
        },
        "statistics": {"body": statistics},
    }


def test_equals_pytorch(images, variables):
    with jax.enable_x64(True):
        images = jnp.asarray(np.random.default_rng(1).normal(size=images.shape))
        variables = drawn(variables, images)
        assert_close(our_step(variables, images), torch_step(variables, images))


def test_frozen_norms_keep_their_statistics_in_training(images, variables):
    model = Airbench(**SMALL, norm="frozen")
    logits, updated = model.apply(variables, images, train=True, mutable=["batch_stats"])
    assert_close(updated["batch_stats"], variables["batch_stats"], rtol=0, atol=0)
    assert_close(logits, model.apply(variables, images), rtol=1e-6)


def test_bfloat16_leaves_parameters_and_logits_in_float32(images, variables):
    model = Airbench(**SMALL, dtype=jnp.bfloat16)
    assert model.apply(variables, images).dtype == jnp.float32
    features = model.apply(variables, images, method="features")
    assert {leaf.dtype for leaf in features.values()} == {jnp.dtype(jnp.bfloat16)}


@pytest.mark.parametrize(
    ("attributes", "message"),
    [
        ({"norm": "group"}, "norm must be one of 'batch', 'frozen', got 'group'"),
        ({"widths": ()}, r"at least one stage, got \(\)"),
    ],
)
@pytest.mark.usefixtures("no_shape_hook")
def test_attributes_that_make_no_sense_are_refused(attributes, message):
    with pytest.raises(ValueError, match=message):
        Airbench(**attributes)


@pytest.mark.usefixtures("no_shape_hook")
def test_images_that_do_not_fit_are_refused():
    with pytest.raises(ValueError, match="8x32 pixels are too small .* at least 9x9"):
        create_model("cifar_airbench94").init(jax.random.key(0), jnp.zeros((1, 8, 32, 3)))
