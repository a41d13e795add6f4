import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax.traverse_util import flatten_dict

from cnn_jax.errors import ConfigError
from cnn_jax.layers import pairwise_iou
from cnn_jax.models import RCNN, ResNet, create_model
from cnn_jax.models.proposals import select_proposals
from tests.models.dense import count

SMALL = ResNet("cifar", "basic", (1, 1, 1, 1), (4, 8, 8, 8))


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("fasterrcnn_resnet50_fpn", 41_755_286),
        ("fasterrcnn_resnet50_fpn_v2", 43_712_278),
        ("maskrcnn_resnet50_fpn", 44_401_393),
        ("maskrcnn_resnet50_fpn_v2", 46_359_409),
    ],
)
def test_parameters(name, expected):
    """torchvision's `num_params`; in version 1 a frozen BatchNorm has no parameters."""
    model = create_model(name)
    variables = jax.eval_shape(model.init, jax.random.key(0), jnp.zeros((1, 64, 64, 3)))
    flat = flatten_dict(variables["params"], sep="/")
    frozen = [leaf.size for path, leaf in flat.items() if "norm" in path and "/body/" in path]
    frozen = [] if name.endswith("_v2") else frozen
    assert count(variables["params"]) - sum(frozen) == expected
    assert sorted(model.torch_names().values()) == sorted(flatten_dict(variables, sep="/"))


def test_outputs_have_fixed_shapes():
    model = RCNN(SMALL, masks=True, num_classes=3, proposals=10, proposals_train=20)
    images = jnp.zeros((2, 17, 31, 3))
    outputs, variables = jax.eval_shape(lambda: model.init_with_output(jax.random.key(0), images))
    # Padded to 24x32 pixels, for strides 1, 2, 4, 8 and 16.
    anchors = 3 * (24 * 32 + 12 * 16 + 6 * 8 + 3 * 4 + 2 * 2)
    assert {name: outputs[name].shape for name in outputs if name != "levels"} == {
        "anchors": (anchors, 4),
        "box_deltas": (2, 10, 3, 4),
        "class_logits": (2, 10, 3),
        "proposal_mask": (2, 10),
        "proposals": (2, 10, 4),
        "rpn_deltas": (2, anchors, 4),
        "rpn_logits": (2, anchors),
    }
    assert [x.shape for x in outputs["levels"]] == [
        (2, 24 // s, 32 // s, 256) for s in (1, 2, 4, 8)
    ]

    def in_training(variables):
        return model.apply(variables, images, train=True, method="propose", mutable=["batch_stats"])

    trained, _ = jax.eval_shape(in_training, variables)
    assert trained["proposals"].shape == (2, 20, 4)
    masks = jax.eval_shape(
        lambda v, levels: model.apply(v, levels, jnp.zeros((2, 5, 4)), method="segment"),
        variables,
        outputs["levels"],
    )
    assert masks.shape == (2, 5, 28, 28, 3)


def test_proposals_are_the_best_that_do_not_overlap():
    rng = np.random.default_rng(0)
    corners = np.sort(rng.uniform(-10, 60, (2, 40, 2, 2)), axis=2)
    anchors = tuple(jnp.asarray(corners.reshape(2, 40, 4), jnp.float32))
    logits = tuple(jnp.asarray(rng.normal(size=(2, 40)), jnp.float32))
    deltas = (jnp.zeros((40, 4)),) * 2
    size, number = jnp.array([30, 50]), 12
    boxes, mask = jax.jit(select_proposals, static_argnums=4)(logits, deltas, anchors, size, number)
    expected = []
    for of_level, anchor in zip(logits, anchors, strict=True):
        kept = []
        for place in np.argsort(-of_level)[:number]:
            box = np.clip(anchor[place], 0, [50, 30, 50, 30])
            overlap = any(pairwise_iou(box[None], other[None])[0, 0] > 0.7 for _, other in kept)
            if box[0] < box[2] and box[1] < box[3] and not overlap:
                kept.append((-of_level[place], box))
        assert len(kept) < number
        expected += kept
    expected = [box for _, box in sorted(expected, key=lambda one: one[0])[:number]]
    assert len(expected) == number and mask.all()
    np.testing.assert_allclose(boxes, expected, rtol=1e-5)
    few, mask = select_proposals(
        tuple(x[:3] for x in logits), tuple(x[:3] for x in deltas),
        tuple(x[:3] for x in anchors), size, 30,
    )  # fmt: skip
    assert few.shape == (30, 4) and 1 <= mask.sum() <= 6 and not few[~mask].any()


def test_no_gradient_goes_through_the_proposals():
    anchors = (jnp.array([[0.0, 0, 9, 9], [5, 5, 20, 20]]),)

    def loss(logits, deltas):
        boxes, _ = select_proposals((logits,), (deltas,), anchors, jnp.array([30, 30]), 2)
        return boxes.sum()

    gradients = jax.grad(loss, (0, 1))(jnp.array([1.0, 2]), jnp.zeros((2, 4)))
    assert not any(jnp.any(gradient) for gradient in gradients)


@pytest.mark.usefixtures("no_shape_hook")
def test_what_makes_no_sense_is_named():
    with pytest.raises(ConfigError, match="a detector needs classes, the background among them"):
        RCNN("resnet18", num_classes=0)
    with pytest.raises(ConfigError, match=r"each of 5 levels, got \(8, 16\)"):
        RCNN("resnet18", anchor_sizes=(8, 16))
    with pytest.raises(ConfigError, match="channels must be at least 1, got 0"):
        RCNN("resnet18", channels=0)
    with pytest.raises(ConfigError, match=r"at least 2 pixels, .* got \(1, 2, 4, 8, 16\)"):
        RCNN("resnet18", anchor_sizes=(1, 2, 4, 8, 16))
    with pytest.raises(ConfigError, match=r"expected images as .*, got shape \(9, 9, 3\)"):
        RCNN(SMALL).init(jax.random.key(0), jnp.zeros((9, 9, 3)))
