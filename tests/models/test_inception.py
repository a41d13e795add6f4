import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn
from flax.traverse_util import flatten_dict

from cnn_jax.layers import BatchNorm
from cnn_jax.models import create_model
from cnn_jax.models.inception_blocks import InceptionA, average_inside, average_with_zeros
from cnn_jax.models.summary import feature_shapes
from tests.tolerance import assert_close

PARAMETERS = {False: 23_834_568, True: 27_161_264}


def shapes(model, size=75, **arguments):
    images = jnp.zeros((1, size, size, 3))
    return jax.eval_shape(lambda: model.init(jax.random.key(0), images, **arguments))


@pytest.mark.parametrize("aux_logits", PARAMETERS)
def test_parameters(aux_logits):
    params = shapes(create_model("inception_v3", aux_logits=aux_logits))["params"]
    assert sum(leaf.size for leaf in jax.tree.leaves(params)) == PARAMETERS[aux_logits]


def test_parameters_of_the_network_of_fid():
    """1,008 outputs in place of 1,000."""
    params = shapes(create_model("fid_inception_v3"))["params"]
    count = sum(leaf.size for leaf in jax.tree.leaves(params))
    assert count == PARAMETERS[False] + 8 * (2048 + 1)


@pytest.mark.parametrize("aux_logits", [False, True])
def test_torch_names_are_all_of_the_variables(aux_logits):
    model = create_model("inception_v3", aux_logits=aux_logits)
    assert sorted(model.torch_names().values()) == sorted(flatten_dict(shapes(model), sep="/"))


@pytest.mark.parametrize(("size", "sizes"), [(299, (71, 35, 17, 8)), (75, (15, 7, 3, 1))])
def test_features_are_named_from_stem_to_last_block(size, sizes):
    """Sizes as in torchvision's comments and, at the smallest, its model."""
    found = feature_shapes(create_model("inception_v3"), (size, size, 3))
    widths = {
        0: [("stem", 192)],
        1: [("mixed_5b", 256), ("mixed_5c", 288), ("mixed_5d", 288)],
        2: [(f"mixed_6{letter}", 768) for letter in "abcde"],
        3: [("mixed_7a", 1280), ("mixed_7b", 2048), ("mixed_7c", 2048)],
    }
    assert list(found.items()) == [
        (name, (sizes[i], sizes[i], width)) for i, names in widths.items() for name, width in names
    ]


@pytest.mark.parametrize(("pool", "border"), [(average_with_zeros, 2 / 3), (average_inside, 1.0)])
def test_zeros_around_the_image_count_in_the_average_pools(pool, border):
    """Torchvision's average is over nine pixels at the border, too: of ones, 4/9 at a corner.
    TensorFlow's is over those of the image.
    """
    outputs = []

    class Conv(nn.Module):
        features: int
        kernel_size: object
        stride: int = 1
        padding: object = 0

        @nn.compact
        def __call__(self, x, *, train):
            if self.name == "branch_pool":
                outputs.append(x)
            return jnp.zeros((*x.shape[:3], self.features))

    block = InceptionA(pool_features=2, conv_block=Conv, pool=pool)
    block.apply({}, jnp.ones((1, 4, 4, 1)), train=False)
    row = np.array([border, 1, 1, border])
    assert_close(outputs[0][0, :, :, 0], np.outer(row, row), rtol=1e-6)


def test_every_norm_has_an_eps_of_a_thousandth():
    found = []

    def keep(next_method, args, kwargs, context):
        if isinstance(context.module, BatchNorm):
            found.append(context.module.eps)
        return next_method(*args, **kwargs)

    with nn.intercept_methods(keep):
        shapes(create_model("inception_v3", aux_logits=True))
    assert found == [1e-3] * 96


@pytest.fixture(scope="module")
def model():
    return create_model("inception_v3", num_classes=5, aux_logits=True, dropout=0.0)


def test_the_auxiliary_classifier_is_for_training_alone(model):
    variables = shapes(model)

    def outputs(size, train):
        images = jnp.zeros((2, size, size, 3))
        return jax.eval_shape(
            lambda v: model.apply(v, images, train=train, mutable=["batch_stats"])[0], variables
        )

    logits, aux = outputs(299, True)
    assert logits.shape == aux.shape == (2, 5)
    assert outputs(299, False).shape == outputs(75, False).shape == (2, 5)
    assert variables["params"]["aux"]["conv0"]["conv"]["kernel"].shape == (1, 1, 768, 128)
    # The parameters are there whatever the model was initialized for.
    assert flatten_dict(variables) == flatten_dict(shapes(model, 299, train=True))


def test_initialization_is_torchvision_s(model):
    def heads(model):
        model.aux(jnp.zeros((1, 17, 17, 768)), train=False)
        model.head(jnp.zeros((1, 2048)))

    params = model.init(jax.random.key(0), method=heads)["params"]
    deviations = {
        "conv0": (params["aux"]["conv0"]["conv"]["kernel"], 0.1),
        # 0.01 is what it is marked with there, to no effect.
        "conv1": (params["aux"]["conv1"]["conv"]["kernel"], 0.1),
        "fc": (params["aux"]["fc"]["kernel"], 0.001),
        "head": (params["head"]["kernel"], 0.1),
    }
    for name, (kernel, deviation) in deviations.items():
        assert np.std(kernel) == pytest.approx(deviation, rel=0.05), name


def test_bfloat16_leaves_parameters_and_logits_in_float32(model):
    model = model.clone(dtype=jnp.bfloat16)
    variables, images = shapes(model), jnp.zeros((2, 75, 75, 3))
    kept = jax.tree.leaves((variables, jax.eval_shape(model.apply, variables, images)))
    assert {leaf.dtype for leaf in kept} == {jnp.dtype(jnp.float32)}
    features = jax.eval_shape(lambda v: model.apply(v, images, method="features"), variables)
    assert {leaf.dtype for leaf in features.values()} == {jnp.dtype(jnp.bfloat16)}


@pytest.mark.usefixtures("no_shape_hook")
def test_norms_that_there_are_not_are_refused():
    with pytest.raises(ValueError, match="norm must be one of 'batch', 'frozen', got 'none'"):
        create_model("inception_v3", norm="none")
    with pytest.raises(ValueError, match="pooling must be one of 'torchvision', 'tensorflow', got"):
        create_model("inception_v3", pooling="max")


@pytest.mark.parametrize(
    ("attributes", "shape", "message"),
    [
        ({}, (299, 299, 3), r"expected images as \[batch, height, width, channels\], got"),
        ({}, (1, 3, 299, 299), r"looks like \[batch, channels, height, width\]; transpose"),
        ({}, (1, 74, 75, 3), "74x75 pixels are too small .* at least 75x75"),
        (
            {"transform_input": True},
            (1, 75, 75, 1),
            r"images of 3 channels, got shape \(1, 75, 75, 1\)",
        ),
    ],
)
@pytest.mark.usefixtures("no_shape_hook")
def test_images_that_do_not_fit_are_refused(attributes, shape, message):
    model = create_model("inception_v3", **attributes)
    with pytest.raises(ValueError, match=message):
        model.init(jax.random.key(0), jnp.zeros(shape))


@pytest.mark.usefixtures("no_shape_hook")
def test_training_the_auxiliary_classifier_needs_larger_images(model):
    with pytest.raises(ValueError, match="224x224 pixels are too small .* at least 299x299"):
        model.apply(shapes(model), jnp.zeros((1, 224, 224, 3)), train=True)
