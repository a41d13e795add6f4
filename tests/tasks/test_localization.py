"""Localization: losses and metrics by hand and against PyTorch, and that it learns."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn

from cnn_jax.data import ArraySplit, Dataset
from cnn_jax.errors import ConfigError
from cnn_jax.models import Localizer, create_model
from cnn_jax.tasks import Localization

SIDE = 10


class Given(nn.Module):
    """Gives what it has been told, and adds a parameter to all boxes."""

    logits: tuple[tuple[float, ...], ...]
    boxes: tuple[tuple[float, ...], ...]

    @nn.compact
    def __call__(self, x, *, train=False):
        moved = self.param("moved", nn.initializers.zeros_init(), (4,))
        return {"logits": jnp.array(self.logits), "box": jnp.array(self.boxes) + moved[None]}


TRUTH = ((0.0, 0.0, 4.0, 4.0), (2.0, 2.0, 6.0, 6.0), (0.0, 0.0, 10.0, 10.0))
BOXES = ((0.0, 0.0, 4.0, 4.0), (4.0, 4.0, 8.0, 8.0), (0.0, 0.0, 10.0, 6.0))
LOGITS = ((4.0, 0.0), (0.0, 4.0), (4.0, 0.0))
LABELS = (0, 1, 1)


def batch(box_labels=LABELS, weight=(1.0, 1.0, 1.0)):
    return {
        "image": jnp.zeros((3, SIDE, SIDE, 1)),
        "label": jnp.array(LABELS),
        "boxes": jnp.array(TRUTH)[:, None],
        "box_labels": jnp.array(box_labels)[:, None],
        "weight": jnp.array(weight),
    }


def sums_of(task, examples):
    params = {"moved": jnp.zeros(4)}
    loss, (_, sums) = task.loss_fn(params, {}, examples, jax.random.key(0), False)
    return sums | {"loss": loss}


def test_metrics_worked_out_by_hand():
    """A right box; an overlap of 4 in 28 pixels; a wrong class with an overlap of 0.6."""
    task = Localization(Given(LOGITS, BOXES), centre_box=(0.0, 0.0, 0.4, 0.4))
    found = task.summarize(sums_of(task, batch()))
    assert tuple(found) == task.metrics
    assert found["accuracy"] == pytest.approx(2 / 3)
    assert found["mean_iou"] == pytest.approx((1 + 1 / 7 + 0.6) / 3)
    assert found["localization_error"] == pytest.approx(2 / 3)
    assert found["centre_box_iou"] == pytest.approx((1 + 1 / 7 + 0.16) / 3)
    assert found["localized"] == found["centre_box_localized"] == pytest.approx(1 / 3)
    # Without the second image, and with the third one's object moved out.
    found = task.summarize(sums_of(task, batch((0, 1, -1), (1.0, 0.0, 1.0))))
    assert (found["mean_iou"], found["localization_error"]) == (1, 0)
    assert found["accuracy"] == 0.5


@pytest.mark.parametrize("loss", ["giou", "smooth_l1"])
def test_losses_worked_out_by_hand(loss):
    task = Localization(Given(LOGITS, BOXES), loss=loss, box_weight=2.0)
    classes = [np.log1p(np.exp(-4.0)), np.log1p(np.exp(-4.0)), 4 + np.log1p(np.exp(-4.0))]
    of_boxes = {
        # 1 - IoU + the share of the hull that neither covers, 8 of 36 pixels.
        "giou": [0, 1 - 1 / 7 + 8 / 36, 0.4],
        # Errors of 0.2 of the side beyond beta = 0.1, and of 0.4.
        "smooth_l1": [0, 4 * (0.2 - 0.05), 0.4 - 0.05],
    }[loss]
    expected = np.sum(classes) + 2 * np.sum(of_boxes)
    assert float(sums_of(task, batch())["loss"]) == pytest.approx(expected, rel=1e-5)
    gone = expected - 2 * of_boxes[1]
    assert float(sums_of(task, batch((0, -1, 1)))["loss"]) == pytest.approx(gone, rel=1e-5)


def test_smooth_l1_is_pytorchs():
    torch = pytest.importorskip("torch")
    expected = torch.nn.functional.smooth_l1_loss(
        torch.tensor(BOXES) / SIDE, torch.tensor(TRUTH) / SIDE, beta=0.1, reduction="sum"
    )
    with_boxes, without = (
        Localization(Given(LOGITS, BOXES), loss="smooth_l1", box_weight=weight)
        for weight in (1.0, 0.0)
    )
    of_boxes = sums_of(with_boxes, batch())["loss"] - sums_of(without, batch())["loss"]
    assert float(of_boxes) == pytest.approx(float(expected), rel=1e-5)


def test_boxes_without_overlap_have_a_gradient():
    """The generalized IoU pulls a box towards an object that it does not touch."""
    truth = jnp.array(((0.0, 0.0, 2.0, 2.0),) * 3)[:, None]
    task = Localization(Given(LOGITS, ((7.0, 7.0, 9.0, 9.0),) * 3))
    params = {"moved": jnp.zeros(4)}

    def loss(params):
        return task.loss_fn(params, {}, batch() | {"boxes": truth}, jax.random.key(0), True)[0]

    gradient = jax.grad(loss)(params)["moved"]
    assert jnp.isfinite(gradient).all() and (gradient[:2] > 0).all()


def test_a_box_without_area_is_no_number_to_fear():
    task = Localization(Given(LOGITS, ((3.0, 3.0, 3.0, 3.0),) * 3))
    examples = batch() | {"boxes": jnp.array(((3.0, 3.0, 3.0, 3.0),) * 3)[:, None]}
    assert jnp.isfinite(sums_of(task, examples)["loss"])


def test_the_model_gives_boxes_within_the_image():
    model = create_model("localizer", encoder="simple_cnn", num_classes=5, places=2, hidden=8)
    assert model == Localizer("simple_cnn", 5, 2, 8)
    images = jnp.ones((2, 16, 32, 3))
    variables = jax.jit(model.init)(jax.random.key(0), images)
    outputs = model.apply(variables, images)
    assert outputs["logits"].shape == (2, 5)
    # A fresh network gives the central box of half of each side, in pixels.
    np.testing.assert_allclose(outputs["box"], [[8, 4, 24, 12]] * 2)
    params = variables["params"]
    params["box"]["Linear_1"]["bias"] = jnp.array([9.0, -9.0, 9.0, 9.0])
    box = model.apply(variables | {"params": params}, images)["box"]
    np.testing.assert_allclose(box, [[16, 0, 32, 8]] * 2, atol=0.05)
    assert set(params) == {"backbone", "head", "box"} and set(params["backbone"]) == {"body"}


def test_wrong_settings_and_data(no_shape_hook):
    model = Given(LOGITS, BOXES)
    with pytest.raises(ConfigError, match="loss must be one of 'smooth_l1', 'giou', got 'l2'"):
        Localization(model, loss="l2")
    with pytest.raises(ConfigError, match="box_weight must be finite and not negative, got -1"):
        Localization(model, box_weight=-1.0)
    with pytest.raises(ConfigError, match="centre_box must have x0 < x1"):
        Localization(model, centre_box=(0.5, 0.0, 0.5, 1.0))
    arrays = {"image": np.zeros((2, 4, 4, 3), np.uint8), "boxes": np.zeros((2, 3, 4), np.float32)}
    for entries, found in ((["image"], "none"), (["image", "boxes"], r"boxes of shape \(3, 4\)")):
        split = ArraySplit({name: arrays[name] for name in entries})
        dataset = Dataset("cells", "Cells", {"train": split}, ("a", "b"))
        with pytest.raises(ConfigError, match=f"one box .* of every image: Cells has {found}"):
            Localization(model).check(dataset)
