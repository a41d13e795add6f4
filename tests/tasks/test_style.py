"""The tasks of style transfer in one pass: losses, constants, what is trained."""

from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from cnn_jax.description import describe, rebuild
from cnn_jax.models import VGG, AdaIN, TransformationNetwork
from cnn_jax.style import content_loss, style_loss, total_variation
from cnn_jax.tasks import AnyStyle, FastStyle
from tests.tolerance import assert_close

MEAN, STD = (0.5, 0.4, 0.3), (0.2, 0.3, 0.4)
VGG3 = VGG((1, 1, 1), (2, 3, 4), hidden=None, num_classes=0)
ONE = FastStyle(
    TransformationNetwork(width=1, blocks=1),
    VGG3,
    MEAN,
    STD,
    content_layers=("conv3_1",),
    style_layers=("conv1_1", "conv2_1"),
    content_weight=2.0,
    style_weight=3.0,
    variation_weight=4.0,
)
ANY = AnyStyle(AdaIN(VGG3, MEAN, STD), ("conv1_1", "conv3_1"), style_weight=3.0)
SPEC = {"image": jax.ShapeDtypeStruct((8, 8, 3), np.uint8)}


def batch(largest, n=3):
    images = np.random.default_rng(0).uniform(0, largest, (n, 8, 8, 3)).astype(np.float32)
    places = jnp.arange(n)
    weight = jnp.array([1.0, 1.0, 0.0])[:n]
    return {"image": jnp.asarray(images), "weight": weight, "slot": places, "place": places}


def test_the_loss_of_one_style_is_that_of_its_parts():
    params, state = ONE.init(jax.random.key(0), SPEC)
    network = state["constants"]["network"]
    style = jnp.asarray(np.random.default_rng(1).uniform(0, 255, (1, 10, 12, 3)), jnp.float32)
    grams = ONE.grams(network, style)
    assert jax.tree.map(jnp.shape, state["constants"]["grams"]) == jax.tree.map(jnp.shape, grams)
    state = {"constants": {"network": network, "grams": grams}}
    examples = batch(255)
    loss, (after, sums) = jax.jit(ONE.loss_fn, static_argnums=4)(
        params, state, examples, jax.random.key(0), True
    )

    @jax.jit
    def parts(params, network, grams, images):
        outputs = ONE.model.apply({"params": params}, images)
        maps, targets = (ONE.features(network, x) for x in (outputs, images))
        shares = {"conv1_1": 0.5, "conv2_1": 0.5}
        return (
            2 * content_loss(maps, targets, {"conv3_1": 1.0}, relative=True),
            3 * style_loss(maps, grams, shares, relative=True),
            4 * total_variation(outputs / 255),
        )

    content, of_style, variation = parts(params, network, grams, examples["image"])
    expected = (content + of_style + variation)[:2].sum()  # the last one is padding
    assert_close(loss, expected, rtol=1e-4)
    metrics = ONE.summarize(
        {name: np.asarray(value) for name, value in sums.items()} | {"loss": loss}
    )
    assert_close(metrics["style"], of_style[:2].mean(), rtol=1e-4)
    assert metrics["loss"] == pytest.approx(sum(list(metrics.values())[1:]), rel=1e-5)
    jax.tree.map(np.testing.assert_array_equal, after, state)
    styled = jax.jit(ONE.predict)(params, state, examples)
    assert styled.min() >= 0 and styled.max() <= 255


def test_any_style_is_drawn_in_training_and_told_by_the_place_in_evaluation():
    params, state = ANY.init(jax.random.key(0), SPEC)
    styles = np.random.default_rng(1).integers(0, 256, (2, 8, 8, 3), dtype=np.uint8)
    state = {**state, "constants": {"styles": jnp.asarray(styles)}}
    examples = batch(1)
    chosen = ANY._styles(state, examples, None)
    assert_close(chosen, styles[[0, 1, 0]] / np.float32(255), rtol=1e-6)
    drawn = [np.asarray(ANY._styles(state, examples, jax.random.key(n))) for n in range(6)]
    assert len({one.tobytes() for one in drawn}) > 1
    loss_fn = jax.jit(ANY.loss_fn, static_argnums=4)
    loss, (_, sums) = loss_fn(params, state, examples, jax.random.key(0), False)
    assert jnp.isfinite(loss) and sums["weight"] == 2
    assert ANY.predict(params, state, examples).shape == (3, 8, 8, 3)
    assert ANY.trainable("decoder/conv1_1/conv/kernel")
    assert not ANY.trainable("encoder/body/conv1_1/kernel")


def test_an_image_in_its_own_style_has_no_content_loss_in_the_maps():
    """AdaIN of an image with itself is the image's own maps."""
    variables = {"params": ANY.init(jax.random.key(0), SPEC)[0]}
    images = batch(1)["image"]
    mixed = ANY.model.apply(variables, images, images, method="mixed")
    *_, own = ANY.model.apply(variables, images, method="encode").values()
    assert_close(mixed, own, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("task", [ONE, ANY], ids=["one", "any"])
def test_a_run_can_describe_the_task(task):
    assert rebuild(describe(task)) == task


@pytest.mark.parametrize("task", [ONE, ANY], ids=["one", "any"])
def test_other_examples_are_refused(task):
    gray = SimpleNamespace(
        spec={"image": jax.ShapeDtypeStruct((8, 8, 1), np.uint8)},
        image_shape=(8, 8, 1),
        title="digits",
    )
    with pytest.raises(ValueError, match=r"digits has image of shape \(8, 8, 1\)"):
        task.check(gray)
    with pytest.raises(ValueError, match="needs RGB images: a text has tokens"):
        task.check(SimpleNamespace(spec={"tokens": None}, title="a text"))
