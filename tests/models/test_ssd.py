import jax
import jax.numpy as jnp
import pytest
from flax.traverse_util import flatten_dict

from cnn_jax.errors import ConfigError
from cnn_jax.models import SSD, VGG, ResNet, create_model
from tests.models.dense import count
from tests.tolerance import assert_close

NARROW = VGG((1, 1, 1, 1, 1), (2, 2, 2, 4, 4))
BOXES = [38 * 38 * 4, 19 * 19 * 6, 10 * 10 * 6, 5 * 5 * 6, 3 * 3 * 4, 4]
"""Places and default boxes at each of them, of each map (section 3.1)."""


def test_parameters_and_boxes():
    model = create_model("ssd300_vgg16")
    images = jnp.zeros((2, 300, 300, 3))
    outputs, variables = jax.eval_shape(lambda: model.init_with_output(jax.random.key(0), images))
    assert count(variables["params"]) == 35_641_826
    assert [level.shape for level in outputs["logits"]] == [(2, n, 91) for n in BOXES]
    assert [level.shape for level in outputs["deltas"]] == [(2, n, 4) for n in BOXES]
    assert [level.shape for level in outputs["anchors"]] == [(n, 4) for n in BOXES]
    assert sum(BOXES) == 8732


@pytest.mark.parametrize("encoder", ["vgg16_bn", "resnet18"])
def test_names_are_those_of_all_variables(encoder):
    model = SSD(encoder, num_classes=3, channels=64, dtype=jnp.bfloat16)
    images = jnp.zeros((1, 9, 9, 3))
    outputs, variables = jax.eval_shape(lambda: model.init_with_output(jax.random.key(0), images))
    names = model.torch_names()
    assert sorted(names.values()) == sorted(flatten_dict(variables, sep="/"))
    assert sum(level.shape[1] for level in outputs["logits"]) == 8732
    assert outputs["logits"][0].dtype == outputs["deltas"][0].dtype == jnp.float32


def test_each_image_is_resized_by_itself():
    """What surrounds an image on its canvas does not matter, and neither does the canvas."""
    model = SSD(NARROW, num_classes=2, channels=8)
    image = jax.random.normal(jax.random.key(1), (1, 150, 75, 3))
    canvas = jnp.full((1, 160, 90, 3), 7.0).at[:, :150, :75].set(image)
    variables = jax.jit(model.init)(jax.random.key(0), image)
    resized = jax.image.resize(image, (1, 300, 300, 3), "bilinear")
    apply = jax.jit(model.apply)
    expected = apply(variables, resized)["logits"]
    for arguments in ((image,), (canvas, jnp.array([[150, 75]]))):
        for level, expected_level in zip(
            apply(variables, *arguments)["logits"], expected, strict=True
        ):
            assert_close(level, expected_level, rtol=1e-3)
    scale = variables["params"]["coarser"]["scale"]
    assert scale.shape == (4,) and jnp.all(scale == 20)


@pytest.mark.usefixtures("no_shape_hook")
def test_what_makes_no_sense_is_named():
    with pytest.raises(ConfigError, match="a detector needs classes"):
        SSD(num_classes=0)
    with pytest.raises(ConfigError, match="channels must be at least 8, got 4"):
        SSD(channels=4)
    few = SSD(ResNet("cifar", "basic", (1, 1), (4, 8)))
    with pytest.raises(ConfigError, match="strides 8 and 16; ResNet has none of 8, its strides"):
        jax.eval_shape(few.init, jax.random.key(0), jnp.zeros((1, 9, 9, 3)))
    with pytest.raises(ConfigError, match=r"expected images as .*, got shape \(9, 9, 3\)"):
        SSD().init(jax.random.key(0), jnp.zeros((9, 9, 3)))
