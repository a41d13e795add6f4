import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn
from flax.traverse_util import flatten_dict

from cnn_jax.layers import BatchNorm
from cnn_jax.models import GoogLeNet, create_model
from cnn_jax.models.googlenet import BLOCKS
from cnn_jax.models.summary import feature_shapes
from tests.tolerance import assert_close

PARAMETERS = {
    ("googlenet", False): 6_624_904,
    ("googlenet", True): 13_004_888,
    ("cifar_googlenet", False): 5_490_986,
    ("cifar_googlenet", True): 9_841_470,
}
WIDTHS = [256, 480, 512, 512, 512, 528, 832, 832, 1024]


def shapes(model, size=32, **arguments):
    images = jnp.zeros((1, size, size, 3))
    return jax.eval_shape(lambda: model.init(jax.random.key(0), images, **arguments))


def drawn(model, size=32):
    """Variables with every scale and variance near one, and kernels that keep activations' size."""
    rng = np.random.default_rng(0)

    def draw(path, leaf):
        normal = rng.standard_normal(leaf.shape).astype(np.float32)
        if leaf.ndim > 1:
            return jnp.asarray(normal * np.float32(np.sqrt(2 / np.prod(leaf.shape[:-1]))))
        is_factor = path[-1].key in ("scale", "var")
        return jnp.asarray(1 + 0.1 * np.abs(normal) if is_factor else 0.1 * normal)

    return jax.tree_util.tree_map_with_path(draw, shapes(model, size))


@pytest.fixture(scope="module")
def images():
    return jax.random.normal(jax.random.key(1), (2, 8, 8, 3))


@pytest.fixture(scope="module")
def model():
    """The CIFAR form with its heads, whose training is a function of its variables."""
    return create_model(
        "cifar_googlenet", aux_logits=True, dropout=0.0, dropout_aux=0.0, norm="frozen"
    )


@pytest.fixture(scope="module")
def variables(model):
    return drawn(model, 8)


@pytest.mark.parametrize(("name", "aux_logits"), PARAMETERS)
def test_parameters(name, aux_logits):
    params = shapes(create_model(name, aux_logits=aux_logits))["params"]
    assert sum(leaf.size for leaf in jax.tree.leaves(params)) == PARAMETERS[name, aux_logits]


@pytest.mark.parametrize(("name", "aux_logits"), PARAMETERS)
def test_torch_names_are_all_of_the_variables(name, aux_logits):
    model = create_model(name, aux_logits=aux_logits)
    assert sorted(model.torch_names().values()) == sorted(flatten_dict(shapes(model), sep="/"))


def sizes_of_features(name, size):
    """Height of each feature by its name, in forward order."""
    found = feature_shapes(create_model(name), (size, size, 3))
    assert all(height == width for height, width, _ in found.values())
    assert [channels for *_, channels in found.values()] == [192, *WIDTHS]
    return {name: height for name, (height, _, _) in found.items()}


def test_pools_round_their_size_up():
    """Pitfall: with the size rounded down they would give 55, 27, 13 and 6 pixels at 224."""
    blocks = list(BLOCKS)
    at_224 = dict.fromkeys(blocks[:2], 28) | dict.fromkeys(blocks[2:7], 14)
    at_224 |= dict.fromkeys(blocks[7:], 7)
    assert sizes_of_features("googlenet", 224) == {"stem": 56} | at_224
    # The smallest image of all; here the last pool, too, reaches beyond its map.
    at_15 = dict.fromkeys(blocks[:2], 2) | dict.fromkeys(blocks[2:], 1)
    assert sizes_of_features("googlenet", 15) == {"stem": 4} | at_15


def test_small_images_keep_their_size_up_to_the_blocks():
    sizes = list(sizes_of_features("cifar_googlenet", 32).values())
    assert sizes == [32, 32, 32, 16, 16, 16, 16, 16, 8, 8]


def test_the_5x5_branch_has_3x3_kernels():
    """Pitfall: torchvision's weights are of 3x3 kernels, against the paper."""
    body = shapes(create_model("googlenet"))["params"]["body"]
    kernels = {name: body[name]["branch3"]["conv"]["kernel"].shape for name in BLOCKS}
    assert kernels == {name: (3, 3, channels[3], channels[4]) for name, channels in BLOCKS.items()}


def test_every_norm_has_an_eps_of_a_thousandth(model):
    """Pitfall: BatchNorm's default is 1e-5."""
    found = []

    def keep(next_method, args, kwargs, context):
        if isinstance(context.module, BatchNorm):
            found.append(context.module.eps)
        return next_method(*args, **kwargs)

    with nn.intercept_methods(keep):
        shapes(model)
    assert found == [1e-3] * (1 + 9 * 6 + 2)


def test_auxiliary_outputs_are_in_forward_order(model, variables, images):
    """Pitfall: torchvision's tuple has the second one before the first."""
    assert variables["params"]["aux1"]["conv"]["conv"]["kernel"].shape == (1, 1, 512, 128)
    assert variables["params"]["aux2"]["conv"]["conv"]["kernel"].shape == (1, 1, 528, 128)
    flat = flatten_dict(variables["params"], sep="/")
    outputs = [("head", 0.0), ("aux1/fc2", 1.0), ("aux2/fc2", 2.0)]
    constant = {name: dict(variables["params"][name]) for name in ("head", "aux1", "aux2")}
    for path, value in outputs:
        name, *rest = path.split("/")
        layer = {
            "kernel": jnp.zeros_like(flat[f"{path}/kernel"]),
            "bias": jnp.full_like(flat[f"{path}/bias"], value),
        }
        constant[name] = constant[name] | {rest[0]: layer} if rest else layer
    replaced = {**variables, "params": variables["params"] | constant}
    result = model.apply(replaced, images, train=True)
    assert_close(result, tuple(np.full((2, 10), value) for _, value in outputs), rtol=0, atol=0)


def test_input_transform(variables):
    """Pitfall: torchvision's weights want images in [-1, 1], given ones normalized by ImageNet."""
    plain = create_model("cifar_googlenet")
    transformed = create_model("cifar_googlenet", transform_input=True)
    assert not plain.transform_input
    colours = np.random.default_rng(0).random((2, 8, 8, 3)).astype(np.float32)
    normalized = (colours - [0.485, 0.456, 0.406]) / [0.229, 0.224, 0.225]
    variables = {kind: {"body": tree["body"]} for kind, tree in variables.items()}
    expected = plain.apply(variables, 2 * colours - 1, method="features")
    actual = transformed.apply(variables, normalized.astype(np.float32), method="features")
    assert_close(actual["stem"], expected["stem"], rtol=1e-5)


def test_bins_of_the_auxiliary_heads_overlap(model, variables):
    """Pitfall: 14 pixels in 4 bins are rows 0 to 3, 3 to 6, 7 to 10 and 10 to 13."""
    params = jax.tree.map(jnp.zeros_like, variables["params"]["aux1"])
    params["conv"]["conv"]["kernel"] = jnp.zeros((1, 1, 512, 128)).at[0, 0, 0, 0].set(1.0)
    params["conv"]["norm"]["scale"] = jnp.ones(128)
    statistics = {"conv": {"norm": {"mean": jnp.zeros(128), "var": jnp.full(128, 1 - 1e-3)}}}
    x = np.zeros((1, 14, 14, 512), np.float32)
    x[0, :, :, 0] = np.arange(1, 15)[:, None] ** 2 * np.arange(1, 15)[None, :]

    _, captured = model.apply(
        {"params": {"aux1": params}, "batch_stats": {"aux1": statistics}},
        method=lambda model: model.aux1(jnp.asarray(x), train=False),
        capture_intermediates=lambda module, method: module.path == ("aux1", "conv"),
    )
    (pooled,) = captured["intermediates"]["aux1"]["conv"]["__call__"]
    bins = [slice(0, 4), slice(3, 7), slice(7, 11), slice(10, 14)]
    expected = [[x[0, rows, columns, 0].mean() for columns in bins] for rows in bins]
    assert_close(pooled[0, :, :, 0], np.array(expected), rtol=1e-6)
    assert not np.any(pooled[..., 1:])


def test_evaluation_knows_nothing_of_the_heads(model, variables, images):
    without = create_model("cifar_googlenet")
    logits = model.apply(variables, images)
    body_alone = {
        kind: {name: tree[name] for name in ("body", "head") if name in tree}
        for kind, tree in variables.items()
    }
    assert_close(logits, without.apply(body_alone, images), rtol=0, atol=0)
    # The parameters are there whatever the model was initialized for.
    assert flatten_dict(shapes(model)) == flatten_dict(shapes(model, train=True))
    assert set(shapes(model)["params"]) == {"body", "head", "aux1", "aux2"}


def test_frozen_norms_keep_their_statistics_in_training(model, variables, images):
    outputs, updated = model.apply(variables, images, train=True, mutable=["batch_stats"])
    assert_close(updated["batch_stats"], variables["batch_stats"], rtol=0, atol=0)
    assert_close(outputs[0], model.apply(variables, images), rtol=1e-5)


def test_dropout_is_for_training_alone(model, variables, images):
    dropping = model.clone(dropout=1.0, dropout_aux=1.0)
    logits = model.apply(variables, images)
    assert_close(dropping.apply(variables, images), logits, rtol=0, atol=0)
    rngs = {"dropout": jax.random.key(0)}
    outputs = dropping.apply(variables, images, train=True, rngs=rngs)
    params = variables["params"]
    biases = (params["head"]["bias"], params["aux1"]["fc2"]["bias"], params["aux2"]["fc2"]["bias"])
    assert_close(outputs, tuple(np.tile(bias, (2, 1)) for bias in biases), rtol=0, atol=0)


def test_bfloat16_leaves_parameters_and_logits_in_float32(images):
    model = create_model("cifar_googlenet", dtype=jnp.bfloat16, aux_logits=True)
    own = shapes(model)

    def train(variables):
        rngs = {"dropout": jax.random.key(0)}
        return model.apply(variables, images, train=True, rngs=rngs, mutable=["batch_stats"])

    kept = jax.tree.leaves((own, jax.eval_shape(train, own)))
    assert {leaf.dtype for leaf in kept} == {jnp.dtype(jnp.float32)}
    features = jax.eval_shape(lambda v: model.apply(v, images, method="features"), own)
    assert {leaf.dtype for leaf in features.values()} == {jnp.dtype(jnp.bfloat16)}


def test_initialization_is_torchvision_s(model):
    def heads(model):
        model.aux1(jnp.zeros((1, 4, 4, 512)), train=False)
        model.head(jnp.zeros((1, 1024)))

    params = model.init(jax.random.key(0), method=heads)["params"]
    for kernel in (
        params["aux1"]["conv"]["conv"]["kernel"],
        params["aux1"]["fc1"]["kernel"],
        params["head"]["kernel"],
    ):
        assert np.std(kernel) == pytest.approx(0.01, rel=0.03)
        # It truncates at 200 standard deviations: a normal distribution.
        assert np.abs(kernel).max() > 0.03
    bound = 1 / np.sqrt(1024)
    assert 0.5 * bound < np.abs(params["head"]["bias"]).max() <= bound


@pytest.mark.parametrize(
    ("attributes", "message"),
    [
        ({"stem": "tiny"}, "stem must be one of 'cifar', 'imagenet', got 'tiny'"),
        ({"stem": "cifar", "norm": "group"}, "norm must be one of 'batch', 'frozen', got 'group'"),
    ],
)
@pytest.mark.usefixtures("no_shape_hook")
def test_attributes_that_make_no_sense_are_refused(attributes, message):
    with pytest.raises(ValueError, match=message):
        GoogLeNet(**attributes)


@pytest.mark.parametrize(
    ("attributes", "shape", "message"),
    [
        ({}, (1, 3, 224, 224), r"looks like \[batch, channels, height, width\]; transpose"),
        ({}, (224, 224, 3), r"expected images as \[batch, height, width, channels\], got"),
        ({}, (1, 14, 32, 3), "14x32 pixels are too small .* at least 15x15"),
        ({"transform_input": True}, (1, 15, 15, 1), r"of 3 channels, got shape \(1, 15, 15, 1\)"),
    ],
)
@pytest.mark.usefixtures("no_shape_hook")
def test_images_that_do_not_fit_are_refused(attributes, shape, message):
    model = create_model("googlenet", **attributes)
    with pytest.raises(ValueError, match=message):
        model.init(jax.random.key(0), jnp.zeros(shape))
