"""The task of segmentation: its losses, ignored pixels, weights, auxiliary heads, and training."""

from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn

from cnn_jax.data import ArraySplit, Dataset
from cnn_jax.errors import ConfigError
from cnn_jax.layers import Conv
from cnn_jax.tasks import (
    Segmentation,
    dice_loss,
    pixel_counts,
    segmentation_scores,
    softmax_cross_entropy,
    softmax_focal_loss,
)
from tests.tasks.specs import image_spec
from tests.tolerance import assert_close
from tests.training.small import advance, ways

IGNORED = 255
CLASS_WEIGHTS = (0.5, 2.0, 1.0)


class Pixels(nn.Module):
    """A convolution, and in training another one as auxiliary head."""

    num_classes: int = 3

    @nn.compact
    def __call__(self, x: jax.Array, *, train: bool = False) -> jax.Array | tuple[jax.Array, ...]:
        logits = Conv(self.num_classes, 3, padding=1, name="head")(x)
        aux = Conv(self.num_classes, 1, name="aux")(x)
        return (logits, aux) if train else logits


def batch_of(n: int = 4, size: int = 5) -> dict:
    rng = np.random.default_rng(0)
    mask = rng.choice([0, 1, 2, IGNORED], size=(n, size, size))
    return {
        "image": jnp.asarray(rng.normal(size=(n, size, size, 2)), jnp.float32),
        "mask": jnp.asarray(mask, jnp.uint8),
        "weight": jnp.asarray([1, 0, 1, 1], jnp.float32),
    }


def started(task):
    return task.init(jax.random.key(0), image_spec((5, 5, 2)))


def mean_loss(task, batch, train=False):
    loss_fn = jax.jit(task.loss_fn, static_argnames="train")
    loss, (_, sums) = loss_fn(*started(task), batch, jax.random.key(1), train=train)
    return loss / sums["weight"]


def expected_loss(loss, outputs, batch, weights=CLASS_WEIGHTS):
    """The mean over pixels of one loss, image by image."""
    kept = np.asarray(batch["weight"]) > 0
    outputs, mask = outputs[kept], batch["mask"][kept].astype(jnp.int32)
    of_pixel = jnp.where(mask == IGNORED, 0, jnp.asarray(weights)[jnp.where(mask > 2, 0, mask)])
    options = {"class_weights": weights, "ignore_index": IGNORED}
    total = 0.0
    if "softmax" in loss:
        total += softmax_cross_entropy(outputs, mask, **options).sum()
    if loss == "focal":
        total += softmax_focal_loss(outputs, mask, **options).sum()
    if "dice" in loss:
        images = dice_loss(outputs, mask, ignore_index=IGNORED)
        total += jnp.sum(images * of_pixel.sum((1, 2)))
    return total / of_pixel.sum()


@pytest.mark.parametrize("loss", ["softmax", "focal", "dice", "softmax_dice"])
def test_losses_are_means_over_the_pixels_that_count(loss):
    weights = () if loss == "dice" else CLASS_WEIGHTS
    task, batch = Segmentation(Pixels(), loss=loss, class_weights=weights), batch_of()
    params, state = started(task)
    outputs, aux = task.model.apply({"params": params}, batch["image"], train=True)
    expected = [expected_loss(loss, one, batch, weights or (1.0,) * 3) for one in (outputs, aux)]
    assert_close(mean_loss(task, batch), expected[0], rtol=1e-6)
    assert_close(mean_loss(task, batch, True), expected[0] + 0.5 * expected[1], rtol=1e-6)
    loss_fn = jax.jit(task.loss_fn, static_argnums=4)
    value, (_, sums) = loss_fn(params, state, batch, jax.random.key(1), False)
    counts = pixel_counts(
        outputs, batch["mask"].astype(jnp.int32), batch["weight"], ignore_index=IGNORED
    )
    summary = task.summarize(sums | {"loss": value})
    assert summary.keys() == set(task.metrics)
    scores = segmentation_scores(np.asarray(counts))
    assert {name: summary[name] for name in scores} == pytest.approx(scores)


def test_the_cross_entropy_is_that_of_pytorch():
    torch = pytest.importorskip("torch", reason="torch is not installed")
    task, batch = Segmentation(Pixels(), class_weights=CLASS_WEIGHTS), batch_of()
    batch["weight"] = jnp.ones(4)
    outputs = np.array(task.model.apply({"params": started(task)[0]}, batch["image"])).transpose(
        0, 3, 1, 2
    )
    expected = torch.nn.functional.cross_entropy(
        torch.tensor(outputs),
        torch.tensor(np.array(batch["mask"], np.int64)),
        weight=torch.tensor(CLASS_WEIGHTS),
        ignore_index=IGNORED,
    )
    assert_close(mean_loss(task, batch), expected.numpy(), rtol=1e-6)


def test_weights_of_pixels():
    """A pixel of weight 2 counts as two pixels, one of weight 0 as none."""
    task, batch = Segmentation(Pixels()), batch_of()
    plain = mean_loss(task, batch)
    weighted = mean_loss(task, batch | {"pixel_weight": jnp.full((4, 5, 5), 3.0)})
    assert_close(weighted, plain, rtol=1e-6)
    half = jnp.arange(5)[None, :, None] % 2 * jnp.ones((4, 5, 5))
    ignored = batch["mask"].at[:, ::2].set(IGNORED)
    assert_close(
        mean_loss(task, batch | {"pixel_weight": half}),
        mean_loss(task, batch | {"mask": ignored}),
        rtol=1e-6,
    )


@pytest.mark.parametrize("loss", ["softmax", "focal", "dice", "softmax_dice"])
def test_no_pixel_that_counts_gives_no_loss_and_no_gradient(loss):
    task, batch = Segmentation(Pixels(), loss=loss), batch_of()
    batch["mask"] = jnp.full((4, 5, 5), IGNORED, jnp.uint8)
    params, state = started(task)
    gradient = jax.jit(jax.value_and_grad(task.loss_fn, has_aux=True), static_argnums=4)
    (value, (_, sums)), grads = gradient(params, state, batch, jax.random.key(0), True)
    assert value == 0 and sums["weight"] == 0
    assert all(np.all(np.asarray(leaf) == 0) for leaf in jax.tree.leaves(grads))
    assert set(task.summarize(sums | {"loss": value}).values()) == {0.0}


def scenes(n: int, seed: int) -> ArraySplit:
    rng = np.random.default_rng(seed)
    mask = rng.choice([0, 1, 2, IGNORED], size=(n, 6, 6))
    image = np.where(mask == IGNORED, 0, mask) * 60 + rng.integers(0, 60, mask.shape)
    return ArraySplit({"image": image[..., None].astype(np.uint8), "mask": mask.astype(np.uint8)})


DATASET = Dataset(
    "scenes",
    "scenes",
    {"train": scenes(24, 0), "validation": scenes(5, 1)},
    ("a", "b", "c"),
    (0.5,),
    (0.25,),
)


def test_devices_agree():
    """In float64, with a batch whose images have different numbers of ignored pixels."""
    with jax.enable_x64(True):
        task = Segmentation(Pixels(), loss="softmax_dice")
        results = {
            name: advance(parallel, task, DATASET, 3, batch_size=8)
            for name, parallel in ways().items()
        }
        expected = results.pop("one device")
        for result in results.values():
            assert_close(result[0], expected[0], rtol=1e-9)
            assert_close(result[1], expected[1], rtol=1e-6)
            np.testing.assert_array_equal(result[1]["counts"], expected[1]["counts"])


@pytest.mark.usefixtures("no_shape_hook")
def test_data_that_does_not_fit_is_named():
    task = Segmentation(Pixels(2))
    with pytest.raises(ConfigError, match="the model has 2 outputs, and scenes has 3 classes"):
        task.check(DATASET)
    arrays = {"image": np.zeros((2, 6, 6, 1), np.uint8), "mask": np.zeros((2, 6, 5), np.uint8)}
    other = replace(DATASET, splits={"train": ArraySplit(arrays)})
    with pytest.raises(ConfigError, match=r"\(6, 6, 1\) and masks of shape \(6, 5\)"):
        task.check(other)
    del arrays["mask"]
    other = replace(DATASET, splits={"train": ArraySplit(arrays)})
    with pytest.raises(ConfigError, match=r"mask .* of every image: scenes .* and no mask"):
        task.check(other)
    wrong = batch_of() | {"mask": jnp.full((4, 5, 5), 7, jnp.uint8)}
    task = Segmentation(Pixels())
    with pytest.raises(ConfigError, match="classes from 0 to 2, got 7; only 255 is ignored"):
        task.loss_fn(*started(task), wrong, jax.random.key(0), False)
    # Compiled code cannot raise.
    assert np.isnan(mean_loss(task, wrong))


@pytest.mark.usefixtures("no_shape_hook")
def test_options_that_make_no_sense_are_named():
    with pytest.raises(ConfigError, match="loss must be one of 'softmax', .*, got 'hinge'"):
        Segmentation(Pixels(), loss="hinge")
    with pytest.raises(ConfigError, match="not for 'dice'.*use softmax_dice"):
        Segmentation(Pixels(), loss="dice", class_weights=(1.0, 2.0))
    with pytest.raises(ConfigError, match="finite and not negative, got "):
        Segmentation(Pixels(), class_weights=(1.0, -2.0))
    with pytest.raises(ConfigError, match="auxiliary_weight must be finite"):
        Segmentation(Pixels(), auxiliary_weight=-1.0)


def test_the_overlap_of_each_class_that_occurs():
    task = Segmentation(Pixels(), class_names=("sky", "road", "tree"))
    assert task.metrics[-3:] == ("iou/sky", "iou/road", "iou/tree")
    counts = np.array([[3, 1, 0], [2, 4, 0], [0, 0, 0], [5, 0, 0]])
    summary = task.summarize({"loss": 1.0, "weight": 2.0, "counts": counts})
    assert summary["iou/sky"] == 3 / 6 and summary["iou/road"] == pytest.approx(4 / 7)
    assert "iou/tree" not in summary


def test_the_prediction_is_the_class_of_every_pixel():
    task, batch = Segmentation(Pixels()), batch_of()
    params, state = started(task)
    predicted = task.predict(params, state, batch)
    outputs = task.model.apply({"params": params}, batch["image"])
    assert predicted.dtype == np.uint8
    np.testing.assert_array_equal(predicted, np.argmax(outputs, axis=-1))


class Middle(Pixels):
    """Outputs without the outermost pixels."""

    @nn.compact
    def __call__(self, x: jax.Array, *, train: bool = False) -> jax.Array:
        return Conv(self.num_classes, 3, name="head")(x)


def test_smaller_outputs_are_compared_with_the_middle_of_the_mask():
    task, batch = Segmentation(Middle()), batch_of()
    middle = {"mask": batch["mask"][:, 1:-1, 1:-1]}
    loss = mean_loss(task, batch)
    assert_close(loss, mean_loss(task, batch | middle), rtol=1e-6)
    weights = {"pixel_weight": jnp.arange(100.0).reshape(4, 5, 5)}
    inner = {"pixel_weight": weights["pixel_weight"][:, 1:-1, 1:-1]}
    assert_close(
        mean_loss(task, batch | weights), mean_loss(task, batch | middle | inner), rtol=1e-6
    )


@pytest.mark.usefixtures("no_shape_hook")
def test_a_smaller_mask_is_refused():
    batch = batch_of()
    with pytest.raises(ConfigError, match="4, 2, 2"):
        mean_loss(Segmentation(Middle()), batch | {"mask": batch["mask"][:, :2, :2]})
