import jax
import jax.numpy as jnp
import pytest
from flax.traverse_util import flatten_dict

from cnn_jax.errors import ConfigError
from cnn_jax.models import ResNet, RetinaNet, create_model
from tests.models.dense import count, traced

SMALL = ResNet("cifar", "basic", (1, 1, 1), (4, 8, 8))


@pytest.mark.parametrize("version", [1, 2])
def test_parameters(version):
    """torchvision's `num_params`, which has no parameters in a frozen BatchNorm."""
    name, expected = ("retinanet_resnet50_fpn", 34_014_999)
    if version == 2:
        name, expected = "retinanet_resnet50_fpn_v2", 38_198_935
    model = create_model(name)
    variables = jax.eval_shape(model.init, jax.random.key(0), jnp.zeros((1, 64, 64, 3)))
    flat = flatten_dict(variables["params"], sep="/")
    frozen = [leaf.size for path, leaf in flat.items() if "norm" in path and "/body/" in path]
    assert count(variables["params"]) - (sum(frozen) if version == 1 else 0) == expected
    paths = flatten_dict(variables, sep="/").keys()
    assert sorted(model.torch_names().values()) == sorted(paths)


def test_outputs_have_a_row_for_each_anchor():
    model = RetinaNet(SMALL, num_classes=3, anchor_sizes=(4, 8, 16, 32, 64))
    images = jnp.zeros((2, 17, 31, 3))
    outputs = jax.eval_shape(lambda: model.init_with_output(jax.random.key(0), images)[0])
    # Padded to 20x32 pixels, for strides 1, 2, 4, 8 and 16.
    places = [20 * 32, 10 * 16, 5 * 8, 3 * 4, 2 * 2]
    assert [level.shape for level in outputs["logits"]] == [(2, 9 * n, 3) for n in places]
    assert [level.shape for level in outputs["deltas"]] == [(2, 9 * n, 4) for n in places]
    assert [level.shape for level in outputs["anchors"]] == [(9 * n, 4) for n in places]


def test_it_begins_with_few_objects():
    model = RetinaNet(SMALL, num_classes=3)
    images = jax.random.normal(jax.random.key(1), (1, 16, 16, 3))
    outputs, _ = jax.jit(model.init_with_output)(jax.random.key(0), images)
    for level in outputs["logits"]:
        assert jnp.allclose(jax.nn.sigmoid(level), 0.01, atol=0.003)


def test_frozen_and_eps_reach_the_body():
    model = create_model("retinanet_resnet50_fpn", norm="frozen", norm_eps=0.0, dtype=jnp.bfloat16)
    body = model.make_backbone().make_encoder()
    assert (body.norm, body.norm_eps, body.dtype) == ("frozen", 0.0, jnp.bfloat16)
    output, _ = traced_outputs(model)
    assert output["logits"][0].dtype == output["deltas"][0].dtype == jnp.float32


def traced_outputs(model):
    images = jnp.zeros((1, 32, 32, 3))
    return jax.eval_shape(lambda: model.init_with_output(jax.random.key(0), images))


@pytest.mark.usefixtures("no_shape_hook")
def test_what_makes_no_sense_is_named():
    with pytest.raises(ConfigError, match="anchor_sizes must have a value for each of 5 levels"):
        RetinaNet("resnet18", anchor_sizes=(8, 16))
    with pytest.raises(ConfigError, match="channels must be a multiple of 32, got 48"):
        RetinaNet("resnet18", version=2, channels=48)
    few = ResNet("cifar", "basic", (1, 1), (4, 8))
    with pytest.raises(ConfigError, match="a pyramid of 3 maps needs .*; ResNet has 2"):
        traced(RetinaNet(few), (16, 16, 3))
    with pytest.raises(ConfigError, match=r"expected images as .*, got shape \(9, 9, 3\)"):
        RetinaNet(SMALL).init(jax.random.key(0), jnp.zeros((9, 9, 3)))
