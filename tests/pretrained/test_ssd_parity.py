"""SSD equals torchvision's with the same weights: outputs, detections, losses, gradients."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from cnn_jax.models import SSD, VGG, create_model
from cnn_jax.pretrained import from_torch, to_torch
from cnn_jax.tasks import MultiBoxDetection
from tests.layers.detection import torchvision  # noqa: F401 (a fixture)
from tests.references.detectors import drawn_examples, drawn_state, torch_batch
from tests.tolerance import assert_close

CLASSES = 5
NARROW = 16
"""Factor by which all layers are narrower than torchvision's."""


def torch_network(encoder, channels):
    """torchvision's SSD on a VGG; images are resized, but not normalized."""
    from torch import nn
    from torchvision.models import vgg
    from torchvision.models.detection.anchor_utils import DefaultBoxGenerator
    from torchvision.models.detection.ssd import SSD, _vgg_extractor

    layers = []
    for number, width in zip(encoder.stage_sizes, encoder.widths, strict=True):
        layers += [width] * number + ["M"]
    body = vgg.VGG(vgg.make_layers(layers), num_classes=1, init_weights=False)
    backbone = _vgg_extractor(body, False, 5)
    backbone.scale_weight = nn.Parameter(backbone.scale_weight[: encoder.widths[-1]].detach())
    factor = 1024 // channels
    for block in (backbone.extra[0][-1], *backbone.extra[1:]):
        for name, layer in block.named_children():
            if isinstance(layer, nn.Conv2d):
                options = {n: getattr(layer, n) for n in ("stride", "padding", "dilation")}
                shape = layer.in_channels // factor, layer.out_channels // factor
                setattr(block, name, nn.Conv2d(*shape, layer.kernel_size, **options))
    boxes = DefaultBoxGenerator(
        [[2], [2, 3], [2, 3], [2, 3], [2], [2]],
        scales=[0.07, 0.15, 0.33, 0.51, 0.69, 0.87, 1.05],
        steps=[8, 16, 32, 64, 100, 300],
    )
    model = SSD(backbone, boxes, (300, 300), CLASSES)
    model.transform.normalize = lambda image: image
    return model


def check(batch, stages=(1, 1, 1, 1, 1), narrow=NARROW, least=20):
    import torch

    widths = tuple(width // narrow for width in (64, 128, 256, 512, 512))
    encoder = VGG(stages, widths, num_classes=0)
    theirs = torch_network(encoder, 1024 // narrow)
    shapes = {name: tuple(value.shape) for name, value in theirs.state_dict().items()}
    state = drawn_state(shapes)
    theirs.double().load_state_dict({name: torch.tensor(a) for name, a in state.items()})
    images, targets = torch_batch(batch)
    raw = {}
    theirs.head.register_forward_hook(lambda *args: raw.update(args[-1]))
    losses = theirs.train()(images, targets)
    sum(losses.values()).backward()
    expected_raw = {name: value.detach().numpy() for name, value in raw.items()}
    with torch.no_grad():
        detections = theirs.eval()(images)

    model = SSD(encoder, num_classes=CLASSES, channels=1024 // narrow)
    task = MultiBoxDetection(model)
    with jax.enable_x64(True):
        variables = from_torch(model, state)
        batch = {name: jnp.asarray(value) for name, value in batch.items()}

        @jax.jit
        def step(variables):
            outputs = model.apply(variables, batch["image"], batch["size"])
            loss = jax.value_and_grad(task.loss_fn, has_aux=True)
            found = task.predict(variables["params"], {}, batch)
            return outputs, found, loss(variables["params"], {}, batch, jax.random.key(0), True)

        # Arrays of JAX would become float32 outside.
        outputs, found, ((_, (_, sums)), gradients) = jax.device_get(step(variables))
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
        print(there.sum(), sums)
        assert there.sum() == len(detection["labels"]) >= least
        np.testing.assert_array_equal(found["box_labels"][i][there], detection["labels"])
        for name in ("boxes", "scores"):
            assert_close(found[name][i][there], detection[name].numpy())

    in_torch = to_torch(model, {"params": gradients})
    for name, parameter in theirs.named_parameters():
        assert_close({name: in_torch[name]}, {name: parameter.grad.numpy() * number})


def test_equals_torchvision(torchvision):  # noqa: F811
    """Images of two sizes, none of them the network's; one of them without objects."""
    check(drawn_examples(sizes=((200, 330), (310, 170))))


@pytest.mark.full
def test_equals_torchvision_at_full_depth(torchvision):  # noqa: F811
    check(drawn_examples(1, ((300, 300),)), (2, 2, 3, 3, 3), 1)


def test_names_and_shapes_are_torchvisions(torchvision):  # noqa: F811
    import torch

    with torch.device("meta"):
        builder = torchvision.models.detection.ssd300_vgg16
        theirs = builder(weights=None, weights_backbone=None)
        expected = {key: tuple(value.shape) for key, value in theirs.state_dict().items()}
    model = create_model("ssd300_vgg16")
    shapes = jax.eval_shape(model.init, jax.random.key(0), jnp.zeros((1, 9, 9, 3)))
    zeros = jax.tree.map(lambda a: np.zeros(a.shape, np.int8), shapes)
    assert {name: array.shape for name, array in to_torch(model, zeros).items()} == expected
