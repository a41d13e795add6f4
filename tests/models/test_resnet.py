import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn
from jax.sharding import AxisType, NamedSharding, PartitionSpec

from cnn_jax.layers import BatchNorm
from cnn_jax.models import ResNet, cifar_resnet, create_model
from cnn_jax.models.summary import feature_shapes
from tests.tolerance import assert_close

CIFAR = {20: 269_722, 32: 464_154, 44: 658_586, 56: 853_018, 110: 1_727_962}
IMAGENET = {
    "resnet18": 11_689_512,
    "resnet34": 21_797_672,
    "resnet50": 25_557_032,
    "resnet101": 44_549_160,
    "resnet152": 60_192_808,
    "resnext50_32x4d": 25_028_904,
    "resnext101_32x8d": 88_791_336,
    "wide_resnet50_2": 68_883_240,
    "wide_resnet101_2": 126_886_696,
}


STAGES = {"stage_sizes": (3, 3, 3), "widths": (16, 32, 64)}


def shapes(model):
    return jax.eval_shape(model.init, jax.random.key(0), jnp.zeros((1, 32, 32, 3)))


def parameters(name, **attributes):
    return sum(
        leaf.size for leaf in jax.tree.leaves(shapes(create_model(name, **attributes))["params"])
    )


@pytest.mark.parametrize("depth", CIFAR)
def test_cifar_parameters(depth):
    assert parameters(f"cifar_resnet{depth}") == CIFAR[depth]
    assert parameters(f"cifar_resnet{depth}", shortcut="B") == CIFAR[depth] + 2_752
    assert parameters(f"cifar_plain{depth}") == CIFAR[depth]


@pytest.mark.full
def test_cifar_parameters_of_1202_layers():
    assert parameters("cifar_resnet1202") == 19_421_274


@pytest.mark.parametrize("name", IMAGENET)
def test_imagenet_parameters(name):
    assert parameters(name) == IMAGENET[name]


@pytest.mark.parametrize("name", ["cifar_resnet20", "cifar_plain20", "resnet18", "resnext50_32x4d"])
def test_torch_names_are_all_of_the_variables(name):
    model = create_model(name)
    paths = ["/".join(k.key for k in path) for path, _ in jax.tree.leaves_with_path(shapes(model))]
    assert sorted(model.torch_names().values()) == sorted(paths)


@pytest.mark.parametrize(
    ("name", "size", "expected"),
    [
        ("cifar_resnet20", 32, [(32, 16), (32, 16), (16, 32), (8, 64)]),
        ("resnet18", 64, [(32, 64), (16, 64), (8, 128), (4, 256), (2, 512)]),
        ("resnet50", 64, [(32, 64), (16, 256), (8, 512), (4, 1024), (2, 2048)]),
    ],
)
def test_features_are_named_from_stem_to_last_stage(name, size, expected):
    stages = ["stem", *(f"stage{i}" for i in range(1, len(expected)))]
    found = feature_shapes(create_model(name), (size, size, 3))
    expected = {stage: (n, n, c) for stage, (n, c) in zip(stages, expected, strict=True)}
    assert list(found.items()) == list(expected.items())


@pytest.fixture(scope="module")
def images():
    return jax.random.normal(jax.random.key(1), (8, 8, 8, 3))


@pytest.fixture(scope="module")
def variables(images):
    """Of the smallest network, cifar_resnet(8), plain or not, with option A."""
    return jax.jit(cifar_resnet(8).init)(jax.random.key(0), images)


def test_identity_path_of_option_a(images):
    """Every second pixel, and channels of zeros: with zero branches nothing else is left."""
    model = cifar_resnet(8, zero_init_residual=True)
    variables = jax.jit(model.init)(jax.random.key(0), images)
    features = model.apply(variables, images, method="features")
    stem = np.asarray(features["stem"])
    np.testing.assert_array_equal(features["stage1"], stem)
    np.testing.assert_array_equal(features["stage2"][..., :16], stem[:, ::2, ::2])
    np.testing.assert_array_equal(features["stage3"][..., :16], stem[:, ::4, ::4])
    assert not np.any(features["stage2"][..., 16:])
    assert not np.any(features["stage3"][..., 16:])


@pytest.mark.parametrize(("block", "last"), [("basic", "norm2"), ("bottleneck", "norm3")])
def test_only_the_last_norm_of_a_branch_starts_at_zero(images, block, last):
    model = ResNet("cifar", block, (1, 1), (2, 4), num_classes=2, zero_init_residual=True)
    body = jax.jit(model.init)(jax.random.key(0), images)["params"]["body"]
    for name in ("stage1_block1", "stage2_block1"):
        scales = {layer: v["scale"] for layer, v in body[name].items() if "norm" in layer}
        assert {layer for layer, scale in scales.items() if not np.any(scale)} == {last}
        assert all(np.all(scale == 1) for layer, scale in scales.items() if layer != last)
    np.testing.assert_array_equal(body["stem_norm"]["scale"], np.ones(2))


def test_a_plain_network_has_no_identity_path(images, variables):
    """With the same parameters; of a branch that is silenced nothing is left."""
    variables = jax.tree.map(jnp.asarray, variables)
    variables["params"]["body"]["stage1_block1"]["norm2"]["scale"] = jnp.zeros(16)
    with_path = cifar_resnet(8).apply(variables, images, method="features")
    without = cifar_resnet(8, residual=False).apply(variables, images, method="features")
    np.testing.assert_array_equal(with_path["stage1"], with_path["stem"])
    assert not np.any(without["stage1"])


def test_initialization_is_he_s_over_the_fan_out(variables):
    kernel = np.asarray(variables["params"]["body"]["stage3_block1"]["conv1"]["kernel"])
    assert kernel.shape == (3, 3, 32, 64)
    assert np.std(kernel) == pytest.approx(np.sqrt(2 / (9 * 64)), rel=0.03)
    # A normal distribution, not one truncated at two standard deviations.
    assert np.abs(kernel).max() > 3 * np.std(kernel)


def test_frozen_norms_keep_their_statistics_in_training(images, variables):
    model = cifar_resnet(8, norm="frozen")
    logits, updated = model.apply(variables, images, train=True, mutable=["batch_stats"])
    assert_close(updated["batch_stats"], variables["batch_stats"], rtol=0, atol=0)
    assert_close(logits, model.apply(variables, images), rtol=1e-6)


def test_bfloat16_leaves_parameters_and_logits_in_float32(images, variables):
    model = cifar_resnet(8, dtype=jnp.bfloat16)
    own = jax.eval_shape(model.init, jax.random.key(0), images)
    logits, updated = model.apply(variables, images, train=True, mutable=["batch_stats"])
    kept = jax.tree.leaves((own, updated, logits))
    assert {leaf.dtype for leaf in kept} == {jnp.dtype(jnp.float32)}
    features = model.apply(variables, images, method="features")
    assert {leaf.dtype for leaf in features.values()} == {jnp.dtype(jnp.bfloat16)}
    exact = cifar_resnet(8).apply(variables, images, train=True, mutable=["batch_stats"])[0]
    assert_close(logits, exact, rtol=0.1)


def loss_and_gradients(model, variables, images, reduce=lambda tree: tree):
    def loss(params):
        logits, updated = model.apply(
            {**variables, "params": params}, images, train=True, mutable=["batch_stats"]
        )
        return jnp.mean(jnp.tanh(logits)), updated["batch_stats"]

    (value, statistics), gradients = jax.value_and_grad(loss, has_aux=True)(variables["params"])
    return reduce((value, gradients)), statistics


def test_eight_devices_equal_one(images, variables):
    """Under jit over a mesh, and under pmap with synchronized statistics."""
    with jax.enable_x64(True):
        images = jnp.asarray(images, jnp.float64)
        model = cifar_resnet(8)
        variables = jax.tree.map(lambda leaf: leaf.astype(jnp.float64), variables)
        step = jax.jit(lambda v, x: loss_and_gradients(model, v, x))
        expected = step(variables, images)

        mesh = jax.make_mesh((8,), ("data",), axis_types=(AxisType.Auto,))
        replicated = jax.device_put(variables, NamedSharding(mesh, PartitionSpec()))
        sharded = jax.device_put(images, NamedSharding(mesh, PartitionSpec("data")))
        assert_close(step(replicated, sharded), expected)

        mapped = jax.pmap(
            lambda v, x: loss_and_gradients(
                model, v, x, reduce=lambda tree: jax.lax.pmean(tree, "devices")
            ),
            "devices",
            in_axes=(None, 0),
            out_axes=None,
        )
        assert_close(mapped(variables, images[:, None]), expected)


@pytest.mark.parametrize("block", ["basic", "bottleneck"])
def test_every_second_pixel_of_a_dilated_stage_is_that_of_the_strided_one(block):
    """Holes in the kernels take the place of pixels left out, in the last of two stages twice."""
    sizes, widths = (1, 2, 2), (2, 3, 4)
    strided = ResNet("cifar", block, sizes, widths, num_classes=2)
    dilated = strided.clone(dilated_stages=2)
    with jax.enable_x64(True):
        images = jax.random.normal(jax.random.key(1), (2, 13, 16, 3))
        variables = jax.jit(strided.init)(jax.random.key(0), images)
        expected, actual = (
            jax.jit(lambda v, x, model=model: model.apply(v, x, method="features"))(
                variables, images
            )
            for model in (strided, dilated)
        )
    assert actual["stage3"].shape == (2, 13, 16, expected["stage3"].shape[-1])
    assert_close(actual["stage1"], expected["stage1"])
    assert_close(actual["stage2"][:, ::2, ::2], expected["stage2"])
    assert_close(actual["stage3"][:, ::4, ::4], expected["stage3"])
    assert dilated.feature_strides() == {"stem": 1, "stage1": 1, "stage2": 1, "stage3": 1}


def test_dilation_keeps_the_stride_of_the_stages_before():
    """As in DeepLab and FCN."""
    model = create_model("resnet50", dilated_stages=2)
    strides = {"stem": 2, "stage1": 4, "stage2": 8, "stage3": 8, "stage4": 8}
    assert model.feature_strides() == strides
    found = feature_shapes(model, (64, 96, 3))
    assert {name: (64 // height, 96 // width) for name, (height, width, _) in found.items()} == {
        name: (stride, stride) for name, stride in strides.items()
    }


def test_norm_eps_is_that_of_every_norm():
    model, found = cifar_resnet(8, shortcut="B", zero_init_residual=True, norm_eps=0.5), []

    def keep(next_method, args, kwargs, context):
        if isinstance(context.module, BatchNorm):
            found.append(context.module.eps)
        return next_method(*args, **kwargs)

    with nn.intercept_methods(keep):
        shapes(model)
    assert found == [0.5] * (1 + 6 + 2)


@pytest.mark.parametrize("depth", [2, 19, 21])
def test_a_depth_that_is_not_6n_plus_2_is_refused(depth):
    with pytest.raises(ValueError, match=rf"depth {depth} is not 6n \+ 2; the nearest is (8|20)"):
        cifar_resnet(depth)


@pytest.mark.parametrize(
    ("attributes", "message"),
    [
        ({"stem": "mnist"}, "stem must be one of 'cifar', 'imagenet', got 'mnist'"),
        ({"block": "wide"}, "block must be one of 'basic', 'bottleneck', got 'wide'"),
        ({"shortcut": "C"}, "shortcut must be one of 'A', 'B', got 'C'"),
        ({"norm": "group"}, "norm must be one of 'batch', 'frozen', got 'group'"),
        ({"residual": False, "zero_init_residual": True}, "has no residual branch"),
        ({"dilated_stages": 3}, "dilated_stages must be between 0 and 2, .* got 3"),
        ({"groups": 32}, "a basic block has groups=1 .* got 32 and 64; set block='bottleneck'"),
    ],
)
@pytest.mark.usefixtures("no_shape_hook")
def test_attributes_that_make_no_sense_are_refused(attributes, message):
    with pytest.raises(ValueError, match=message):
        ResNet(**{"stem": "cifar", "block": "basic", **STAGES, **attributes})


@pytest.mark.parametrize("name", ["resnet18", "resnext50_32x4d"])
def test_any_of_them_takes_the_stem_for_small_images(name):
    """A 3x3 convolution that keeps the size, and no pooling."""
    model = create_model(name, stem="cifar")
    strides = {"stem": 1, "stage1": 1, "stage2": 2, "stage3": 4, "stage4": 8}
    assert model.feature_strides() == strides
    found = feature_shapes(model, (32, 32, 3))
    assert {stage: 32 // height for stage, (height, _, _) in found.items()} == strides
    assert shapes(model)["params"]["body"]["stem_conv"]["kernel"].shape == (3, 3, 3, 64)
    assert create_model(name).stem == "imagenet"


@pytest.mark.parametrize(
    ("name", "shape", "message"),
    [
        ("resnet18", (224, 224, 3), r"expected images as \[batch, height, width, channels\], got"),
        ("resnet18", (1, 3, 224, 224), r"looks like \[batch, channels, height, width\]; transpose"),
    ],
)
@pytest.mark.usefixtures("no_shape_hook")
def test_images_that_do_not_fit_are_refused(name, shape, message):
    model = create_model(name)
    with pytest.raises(ValueError, match=message):
        model.init(jax.random.key(0), jnp.zeros(shape))


@pytest.mark.full
def test_a_nan_reaches_the_logits_of_a_compiled_network():
    # XLA's maximum for CPUs ignores NaN where it is fused into a reduction.
    model = create_model("resnet18")
    images = jnp.zeros((2, 128, 128, 3)).at[0, 5, 5, 1].set(jnp.nan)
    variables = jax.jit(model.init)(jax.random.key(0), images)
    logits = jax.jit(model.apply)(variables, images)
    assert jnp.isnan(logits[0]).all() and jnp.isfinite(logits[1]).all()
