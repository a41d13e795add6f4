"""SSD equals torchvision's with the same weights: outputs, detections, losses, gradients."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from cnn_jax.models import SSD, VGG, create_model
from cnn_jax.pretrained import from_torch, to_torch
from cnn_jax.tasks import MultiBoxDetection
from cnn_jax.tasks.detections import detections_of_default_boxes
from cnn_jax.tasks.multibox_detection import multibox_losses
from experiments.tools.photographs import load_photograph
from tests.layers.detection import SIDE, drawn_boxes, torchvision  # noqa: F401 (a fixture)
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
    """A photograph with many objects, and one without any."""
    batch = drawn_examples(1, ((320, 480), (300, 300)), most=61)
    batch["image"][0] = load_photograph("temple", 320)
    batch["box_labels"][0, :5] = 1  # the same object several times: the last one has its anchors
    batch["boxes"][0, :5] = batch["boxes"][0, 0]
    check(batch, (2, 2, 3, 3, 3), 1)


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


def drawn_case(rng, anchors=80, classes=3):
    """Anchors, outputs and objects of one image; some of the boxes are equal."""
    boxes = drawn_boxes(rng, int(rng.integers(0, 6)))
    boxes[:, 2:] += 1
    return {
        "logits": rng.normal(0, 2, (anchors, classes)),
        "deltas": rng.normal(0, 1, (anchors, 4)),
        "anchors": drawn_boxes(rng, anchors) + np.array([0, 0, 2, 2]),
        "boxes": boxes,
        "labels": rng.integers(1, classes, len(boxes)),
    }


@pytest.mark.parametrize("number", [30, pytest.param(500, marks=pytest.mark.full)])
def test_losses_and_detections_of_random_cases(torchvision, number):  # noqa: F811
    """With ties, empty images and boxes that are equal."""
    import torch
    from torchvision.models.detection import ssd
    from torchvision.ops import box_iou

    theirs = ssd.SSD.__new__(ssd.SSD)
    torch.nn.Module.__init__(theirs)
    theirs.box_coder = ssd.det_utils.BoxCoder(weights=(10.0, 10.0, 5.0, 5.0))
    theirs.neg_to_pos_ratio = 3.0
    theirs.score_thresh, theirs.nms_thresh, theirs.topk_candidates = 0.01, 0.45, 40
    theirs.detections_per_img = 30
    matcher, rng = ssd.det_utils.SSDMatcher(0.5), np.random.default_rng(0)

    def loss(logits, deltas, anchors, boxes, labels):
        losses, positives = multibox_losses(logits, deltas, anchors, boxes, labels)
        return sum(losses.values()) / jnp.maximum(positives, 1)

    with jax.enable_x64(True):
        ours = jax.jit(jax.value_and_grad(loss, (0, 1)))
        detect = jax.jit(
            lambda *a: detections_of_default_boxes(
                *a, jnp.array([SIDE, SIDE]), candidates=40, most=30
            )
        )
        for i in range(number):
            case = drawn_case(rng)
            # Which of equally hard negatives count, `torch.sort` leaves open; the loss is the same.
            tied, logits = i % 2 == 0, case["logits"]
            case["logits"] = np.round(2 * logits) / 2 if tied else logits
            tensors = {name: torch.tensor(array) for name, array in case.items()}
            head = {
                "cls_logits": tensors["logits"][None].requires_grad_(),
                "bbox_regression": tensors["deltas"][None].requires_grad_(),
            }
            anchors, targets = [tensors["anchors"]], [tensors]
            matches = torch.full((80,), -1)
            if len(case["boxes"]):
                matches = matcher(box_iou(tensors["boxes"], tensors["anchors"]))
            expected = sum(theirs.compute_loss(targets, head, anchors, [matches]).values())
            expected.backward()
            missing = 6 - len(case["boxes"])
            padded = {
                **case,
                "boxes": np.pad(case["boxes"], ((0, missing), (0, 0))),
                "labels": np.pad(case["labels"], (0, missing), constant_values=-1),
            }
            value, gradients = ours(*(jnp.asarray(padded[name]) for name in padded))
            assert_close(value, expected.item())
            for gradient, tensor in list(zip(gradients, head.values(), strict=True))[tied:]:
                assert_close(gradient, tensor.grad[0].numpy())
            # The order of equal scores of a class is left open by `torch.topk`, so these are those
            # of two classes.
            case["logits"] = logits
            logits[::2, 1] = logits[::2, 2]
            deltas = head["bbox_regression"].detach()
            head = {"cls_logits": torch.tensor(logits)[None], "bbox_regression": deltas}
            (detection,) = theirs.postprocess_detections(head, anchors, [(SIDE, SIDE)])
            found = detect(*(jnp.asarray(case[name]) for name in ("logits", "deltas", "anchors")))
            there = found["box_labels"] >= 0
            np.testing.assert_array_equal(found["box_labels"][there], detection["labels"])
            assert_close(found["scores"][there], detection["scores"].numpy())
            assert_close(found["boxes"][there], detection["boxes"].numpy())
