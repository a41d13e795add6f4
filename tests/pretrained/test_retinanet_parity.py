"""RetinaNet equals torchvision's with the same weights: outputs, detections, losses, gradients."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from cnn_jax.models import RetinaNet, create_model
from cnn_jax.pretrained import from_torch, to_torch
from cnn_jax.tasks import Detection
from tests.layers.detection import torchvision  # noqa: F401 (a fixture)
from tests.references.detectors import (
    drawn_examples,
    drawn_state,
    keep_images,
    torch_backbone,
    torch_batch,
)
from tests.tolerance import assert_close

CLASSES = 5
SIZES = ((8,), (16,), (32,), (64,), (128,))


def torch_network(encoder, version, channels):
    from functools import partial

    from torch import nn
    from torchvision.models.detection.anchor_utils import AnchorGenerator
    from torchvision.models.detection.retinanet import RetinaNet, RetinaNetHead

    sizes = tuple(tuple(int(s * 2 ** (i / 3)) for i in range(3)) for (s,) in SIZES)
    backbone = torch_backbone(encoder, {1: "p5", 2: "c5"}[version], 3, channels)
    head = None
    if version == 2:
        head = RetinaNetHead(channels, 9, CLASSES, partial(nn.GroupNorm, 32))
        head.regression_head._loss_type = "giou"
    anchors = AnchorGenerator(sizes, ((0.5, 1.0, 2.0),) * 5)
    return keep_images(RetinaNet(backbone, CLASSES, anchor_generator=anchors, head=head))


def check(encoder, version, batch, channels=256, **options):
    import torch

    theirs = torch_network(encoder, version, channels)
    shapes = {name: tuple(value.shape) for name, value in theirs.state_dict().items()}
    state = drawn_state(shapes, **options)
    theirs.double().load_state_dict({name: torch.tensor(a) for name, a in state.items()})
    images, targets = torch_batch(batch)
    raw = {}
    theirs.head.register_forward_hook(lambda *args: raw.update(args[-1]))
    losses = theirs.train()(images, targets)
    sum(losses.values()).backward()
    expected_raw = {name: value.detach().numpy() for name, value in raw.items()}
    with torch.no_grad():
        detections = theirs.eval()(images)

    model = RetinaNet(
        encoder,
        version,
        num_classes=CLASSES,
        anchor_sizes=tuple(s for (s,) in SIZES),
        channels=channels,
        norm="frozen",
    )
    task = Detection(model, box_loss={1: "l1", 2: "giou"}[version])
    with jax.enable_x64(True):
        variables = from_torch(model, state)
        params = variables.pop("params")
        batch = {name: jnp.asarray(value) for name, value in batch.items()}

        @jax.jit
        def step(params):
            outputs = model.apply({"params": params, **variables}, batch["image"])
            key = jax.random.key(0)
            loss = jax.value_and_grad(task.loss_fn, has_aux=True)
            return outputs, loss(params, variables, batch, key, True)

        outputs, ((_, (_, sums)), gradients) = step(params)
        found = jax.jit(task.predict)(params, variables, batch)
    # Arrays of JAX would become float32 here.
    outputs, sums, gradients, found = jax.device_get((outputs, sums, gradients, found))
    assert_close(np.concatenate(outputs["logits"], 1), expected_raw["cls_logits"])
    assert_close(np.concatenate(outputs["deltas"], 1), expected_raw["bbox_regression"])
    number = len(images)
    for name, torch_name in (
        ("classification_loss", "classification"),
        ("box_loss", "bbox_regression"),
    ):
        assert_close(sums[name] / number, losses[torch_name].item())

    for i, detection in enumerate(detections):
        there = found["box_labels"][i] >= 0
        assert there.sum() == len(detection["labels"]) > 20
        np.testing.assert_array_equal(found["box_labels"][i][there], detection["labels"])
        for name in ("boxes", "scores"):
            assert_close(found[name][i][there], detection[name].numpy())

    in_torch = to_torch(model, {"params": gradients, **variables})
    for name, parameter in theirs.named_parameters():
        assert_close({name: in_torch[name]}, {name: parameter.grad.numpy() * number})


@pytest.mark.parametrize("version", [1, pytest.param(2, marks=pytest.mark.full)])
def test_equals_torchvision(torchvision, version):  # noqa: F811
    check("resnet18", version, drawn_examples(), channels=64)


@pytest.mark.full
@pytest.mark.parametrize("version", [1, 2])
def test_equals_torchvision_at_full_depth(torchvision, version):  # noqa: F811
    batch = drawn_examples(1, ((160, 192), (130, 192), (160, 97)))
    check("resnet50", version, batch, scale=0.05)


@pytest.mark.parametrize("version", ["", "_v2"])
def test_names_and_shapes_are_torchvisions(torchvision, version):  # noqa: F811
    import torch

    name = f"retinanet_resnet50_fpn{version}"
    with torch.device("meta"):
        builder = getattr(torchvision.models.detection, name)
        theirs = builder(weights=None, weights_backbone=None)
        expected = {key: tuple(value.shape) for key, value in theirs.state_dict().items()}
    model = create_model(name)
    shapes = jax.eval_shape(model.init, jax.random.key(0), jnp.zeros((1, 9, 9, 3)))
    zeros = jax.tree.map(lambda a: np.zeros(a.shape, np.int8), shapes)
    assert {name: array.shape for name, array in to_torch(model, zeros).items()} == expected
