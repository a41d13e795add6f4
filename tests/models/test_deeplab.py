import jax
import jax.numpy as jnp
import pytest

from cnn_jax.errors import ConfigError
from cnn_jax.models import DeepLab, ResNet, create_model

# torchvision's `num_params`, with the auxiliary head.
PARAMETERS = {
    "fcn_resnet50": 35_322_218,
    "fcn_resnet101": 54_314_346,
    "deeplabv3_resnet50": 42_004_074,
    "deeplabv3_resnet101": 60_996_202,
}
SMALL = ResNet("imagenet", "basic", (1, 1), (4, 8), dilated_stages=1)


@pytest.mark.parametrize("name", PARAMETERS)
def test_parameters(name):
    model = create_model(name, aux_logits=True)
    shapes = jax.eval_shape(model.init, jax.random.key(0), jnp.zeros((1, 33, 33, 3)))
    assert sum(leaf.size for leaf in jax.tree.leaves(shapes["params"])) == PARAMETERS[name]
    without = jax.eval_shape(create_model(name).init, jax.random.key(0), jnp.zeros((1, 33, 33, 3)))
    assert without["params"].keys() == {"backbone", "head"}


@pytest.mark.parametrize("decoder", ["fcn", "aspp"])
@pytest.mark.parametrize("size", [(1, 1), (7, 12)])
def test_the_output_has_the_size_of_the_image(decoder, size):
    model, images = DeepLab(SMALL, decoder, num_classes=3, aux_logits=True), jnp.ones((2, *size, 3))
    variables = jax.jit(model.init)(jax.random.key(0), images)
    logits = jax.jit(model.apply)(variables, images)
    assert logits.shape == (2, *size, 3) and jnp.all(jnp.isfinite(logits))

    def training(variables):
        rngs = {"dropout": jax.random.key(1)}
        return model.apply(variables, images, train=True, rngs=rngs, mutable=["batch_stats"])

    outputs, _ = jax.eval_shape(training, variables)
    assert [output.shape for output in outputs] == 2 * [(2, *size, 3)]


def test_any_classifier_is_an_encoder():
    for encoder in ("vgg11_bn", "densenet121", "googlenet", "alexnet", "cifar_resnet20"):
        model = DeepLab(encoder, "fcn", num_classes=4, dilated_stages=0)
        output, variables = jax.eval_shape(
            lambda model=model: model.init_with_output(jax.random.key(0), jnp.zeros((1, 65, 79, 3)))
        )
        assert output.shape == (1, 65, 79, 4)
        # No unused head.
        assert variables["params"]["backbone"].keys() == {"body"}
    # A ResNet of basic blocks can be dilated too, and a single map be enough.
    assert DeepLab("resnet18", "aspp").feature_strides()["stage4"] == 8


def test_no_classes_give_the_features():
    model = DeepLab(SMALL, "aspp", num_classes=0)
    images = jnp.ones((1, 9, 9, 3))
    output, _ = jax.eval_shape(model.init_with_output, jax.random.key(0), images)
    assert output.shape == (1, 9, 9, 256)


def test_frozen_and_dtype_reach_the_body():
    model = create_model("fcn_resnet50", norm="frozen", dtype=jnp.bfloat16)
    body = model.make_backbone()
    assert (body.norm, body.dtype, body.dilated_stages) == ("frozen", jnp.bfloat16, 2)


@pytest.mark.usefixtures("no_shape_hook")
def test_what_makes_no_sense_is_named():
    with pytest.raises(ConfigError, match="decoder must be one of 'fcn', 'aspp', got 'unet'"):
        DeepLab("resnet50", "unet")
    with pytest.raises(ConfigError, match="aux_logits=True needs classes"):
        DeepLab("resnet50", "fcn", num_classes=0, aux_logits=True)
    images = jnp.zeros((1, 9, 9, 3))
    with pytest.raises(ConfigError, match="'mlp' has no feature maps, so it cannot be an encoder"):
        DeepLab("mlp", "fcn", dilated_stages=0).init(jax.random.key(0), images)
    with pytest.raises(ConfigError, match="unknown attribute 'dilated_stages' of model 'vgg16'"):
        DeepLab("vgg16", "fcn").init(jax.random.key(0), images)
    with pytest.raises(ConfigError, match=r"expected images as .*, got shape \(9, 9, 3\)"):
        create_model("fcn_resnet50").init(jax.random.key(0), images[0])
