"""R-CNNs equal torchvision's with the same weights: outputs, detections, losses, gradients."""

import importlib

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from cnn_jax.models import RCNN, create_model
from cnn_jax.pretrained import from_torch, to_torch
from cnn_jax.pretrained.renamed import torchvision_names
from cnn_jax.tasks import RegionDetection, paste_masks, region_losses
from experiments.tools.photographs import load_photograph
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
SIZES = (8, 16, 32, 64, 128)
PROPOSALS = 60
SAMPLES = {"anchors": 64, "regions": 32, "most": 12}
LOSSES = {
    "objectness_loss": "loss_objectness",
    "proposal_box_loss": "loss_rpn_box_reg",
    "classification_loss": "loss_classifier",
    "box_loss": "loss_box_reg",
    "mask_loss": "loss_mask",
}


def torch_network(encoder, masks, version, channels):
    from torch import nn
    from torchvision.models.detection import FasterRCNN, MaskRCNN, faster_rcnn, mask_rcnn
    from torchvision.models.detection.anchor_utils import AnchorGenerator
    from torchvision.models.detection.rpn import RPNHead

    norm, hidden = {1: None, 2: nn.BatchNorm2d}[version], 4 * channels
    if version == 1:
        box_head = faster_rcnn.TwoMLPHead(channels * 7 * 7, hidden)
    else:
        box_head = faster_rcnn.FastRCNNConvFCHead(
            (channels, 7, 7), [channels] * 4, [hidden], norm_layer=norm
        )
    heads = {
        "rpn_head": RPNHead(channels, 3, conv_depth=version),
        "box_head": box_head,
        "box_predictor": faster_rcnn.FastRCNNPredictor(hidden, CLASSES),
    }
    if masks:
        heads |= {
            "mask_head": mask_rcnn.MaskRCNNHeads(channels, [channels] * 4, 1, norm_layer=norm),
            "mask_predictor": mask_rcnn.MaskRCNNPredictor(channels, channels, CLASSES),
        }
    anchors = AnchorGenerator(tuple((s,) for s in SIZES), ((0.5, 1.0, 2.0),) * 5)
    numbers = {
        f"rpn_{p}_nms_top_n_{m}": PROPOSALS for p in ("pre", "post") for m in ("train", "test")
    }
    return keep_images(
        (MaskRCNN if masks else FasterRCNN)(
            torch_backbone(encoder, "subsampled", 4, channels, normalized=version == 2),
            **heads,
            rpn_anchor_generator=anchors,
            rpn_batch_size_per_image=SAMPLES["anchors"],
            box_batch_size_per_image=SAMPLES["regions"],
            box_detections_per_img=SAMPLES["most"],
            **numbers,
        )
    )


def first_of_theirs(sampler, labels):
    """In place of a random sample the first positives and negatives, as in `first_of_ours`."""
    import torch

    chosen = []
    for label in labels:
        number = sampler.batch_size_per_image
        positive = torch.where(label >= 1)[0][: int(number * sampler.positive_fraction)]
        negative = torch.where(label == 0)[0][: number - len(positive)]
        masks = torch.zeros((2, len(label)), dtype=torch.uint8)
        masks[0, positive], masks[1, negative] = 1, 1
        chosen.append(masks)
    return [masks[0] for masks in chosen], [masks[1] for masks in chosen]


def first_of_ours(key, labels, number, positive_fraction):
    positive, negative = labels >= 1, labels == 0
    most = jnp.minimum(jnp.sum(positive), int(number * positive_fraction))
    drawn = positive & (jnp.cumsum(positive) <= most)
    drawn |= negative & (jnp.cumsum(negative) <= number - most)
    indices = jnp.argsort(~drawn, stable=True)[:number]
    return indices, drawn[indices]


def with_instances(batch):
    """The batch with instances: the boxes' pixels, and the later object in front."""
    number, height, width, _ = batch["image"].shape
    instances = np.zeros((number, height, width), np.int32)
    for image, boxes, labels in zip(instances, batch["boxes"], batch["box_labels"], strict=True):
        for i, (x0, y0, x1, y1) in enumerate(boxes[labels >= 0].astype(int)):
            image[y0:y1, x0:x1] = i + 1
    return {**batch, "instances": instances}


def with_wide_labels(monkeypatch):
    """torchvision's labels of anchors are float32, and so is then a loss of float64 logits."""
    from torchvision.models.detection.rpn import RegionProposalNetwork

    original = RegionProposalNetwork.assign_targets_to_anchors

    def wide(*arguments):
        labels, boxes = original(*arguments)
        return [label.double() for label in labels], boxes

    monkeypatch.setattr(RegionProposalNetwork, "assign_targets_to_anchors", wide)


def with_zeros_outside(monkeypatch):
    """Outside of the map torchvision's kernels of roi_align take 0, its Python code the border.

    A region at the border reaches out of the map if it is smaller than a pixel of it.
    """
    import torch

    module = importlib.import_module("torchvision.ops.roi_align")
    original = module._bilinear_interpolate

    def inside(positions, pixels):
        return (positions >= -1) & (positions <= pixels)

    def interpolate(x, images, rows, columns, *masks):
        in_rows = inside(rows, x.shape[2])[:, None, :, None, :, None]
        in_columns = inside(columns, x.shape[3])[:, None, None, :, None, :]
        values = original(x, images, rows, columns, *masks)
        return torch.where(in_rows & in_columns, values, 0)

    monkeypatch.setattr(module, "_bilinear_interpolate", interpolate)


def check(encoder, masks, batch, monkeypatch, version=1, channels=256):
    import torch
    from torchvision.models.detection._utils import BalancedPositiveNegativeSampler

    with_wide_labels(monkeypatch)
    with_zeros_outside(monkeypatch)
    monkeypatch.setattr(BalancedPositiveNegativeSampler, "__call__", first_of_theirs)
    monkeypatch.setattr(region_losses, "sample_balanced", first_of_ours)
    theirs = torch_network(encoder, masks, version, channels)
    shapes = {name: tuple(value.shape) for name, value in theirs.state_dict().items()}
    state = drawn_state(shapes)
    theirs.double().load_state_dict({name: torch.tensor(a) for name, a in state.items()})
    images, targets = torch_batch(batch)
    for target, instances, size in zip(targets, batch["instances"], batch["size"], strict=True):
        numbers = np.arange(1, len(target["labels"]) + 1)[:, None, None]
        cut = instances[: size[0], : size[1]]
        target["masks"] = torch.tensor((cut[None] == numbers).astype(np.uint8))
    with torch.compiler.set_stance("force_eager"):
        losses = theirs.train()(images, targets)
        sum(losses.values()).backward()
        with torch.no_grad():
            expected = theirs.eval()(images)

    model = RCNN(
        encoder,
        masks=masks,
        version=version,
        num_classes=CLASSES,
        anchor_sizes=SIZES,
        channels=channels,
        proposals=PROPOSALS,
        proposals_train=PROPOSALS,
        norm="frozen" if version == 1 else "batch",
    )
    task = RegionDetection(model, **SAMPLES)
    with jax.enable_x64(True):
        variables = from_torch(model, state)
        params = variables.pop("params")
        batch = {name: jnp.asarray(value) for name, value in batch.items()}
        step = jax.jit(jax.value_and_grad(task.loss_fn, has_aux=True), static_argnums=4)
        key = jax.random.key(0)
        (_, (state, sums)), gradients = step(params, variables, batch, key, True)
        found = jax.jit(task.predict)(params, state, batch)
        if masks:
            canvas = batch["image"].shape[1:3]
            found["masks"] = jax.vmap(lambda *a: paste_masks(*a, canvas))(
                found["masks"], found["boxes"]
            )
    # Arrays of JAX would become float32 here.
    sums, gradients, state, found = jax.device_get((sums, gradients, state, found))
    number = len(images)
    for name in task.parts:
        assert_close({name: sums[name] / number}, {name: losses[LOSSES[name]].item()})
    in_torch = to_torch(model, {"params": gradients, **state})
    for name, parameter in theirs.named_parameters():
        assert_close({name: in_torch[name]}, {name: parameter.grad.numpy() * number})
    for name, buffer in theirs.named_buffers():
        if "running" in name:
            assert_close({name: in_torch[name]}, {name: buffer.numpy()})

    for i, detection in enumerate(expected):
        there = found["box_labels"][i] >= 0
        assert there.sum() == len(detection["labels"]) > 4
        np.testing.assert_array_equal(found["box_labels"][i][there], detection["labels"])
        for name in ("boxes", "scores"):
            assert_close(found[name][i][there], detection[name].numpy())
        if masks:
            height, width = batch["size"][i]
            pasted = found["masks"][i][there][:, :height, :width]
            assert_close(pasted, detection["masks"][:, 0].numpy())


# Faster R-CNN is a part of Mask R-CNN.
def test_equals_torchvision(torchvision, monkeypatch):  # noqa: F811
    """Two sizes; in one image more objects than the sample takes, in the other none."""
    check("resnet18", True, with_instances(drawn_examples(most=30)), monkeypatch, channels=64)


@pytest.mark.full
def test_the_second_version_equals_torchvision(torchvision, monkeypatch):  # noqa: F811
    """With BatchNorm of the batch's statistics, of the sampled regions alone."""
    check("resnet18", True, with_instances(drawn_examples(most=30)), monkeypatch, version=2)


@pytest.mark.full
@pytest.mark.parametrize("masks", [False, True])
def test_equals_torchvision_at_full_depth(torchvision, masks, monkeypatch):  # noqa: F811
    """Three sizes, one of them a photograph with many objects."""
    batch = drawn_examples(1, ((160, 192), (130, 192), (160, 97)), most=30)
    batch["image"][0] = (load_photograph("temple", 160)[:, :192] - 0.45) / 0.225
    check("resnet50", masks, with_instances(batch), monkeypatch)


@pytest.mark.parametrize("version", ["", "_v2"])
@pytest.mark.parametrize("name", ["fasterrcnn_resnet50_fpn", "maskrcnn_resnet50_fpn"])
def test_names_and_shapes_are_torchvisions(torchvision, name, version):  # noqa: F811
    import torch

    name = f"{name}{version}"
    with torch.device("meta"):
        theirs = getattr(torchvision.models.detection, name)(weights=None, weights_backbone=None)
        expected = {key: tuple(value.shape) for key, value in theirs.state_dict().items()}
    model = create_model(name)
    shapes = jax.eval_shape(model.init, jax.random.key(0), jnp.zeros((1, 9, 9, 3)))
    zeros = jax.tree.map(lambda a: np.zeros(a.shape, np.int8), shapes)
    assert {name: array.shape for name, array in to_torch(model, zeros).items()} == expected


RENAMED = {
    "backbone.fpn.inner_blocks.2.weight": "backbone.fpn.inner_blocks.2.0.weight",
    "backbone.fpn.layer_blocks.0.bias": "backbone.fpn.layer_blocks.0.0.bias",
    "rpn.head.conv.bias": "rpn.head.conv.0.0.bias",
    "roi_heads.mask_head.mask_fcn4.weight": "roi_heads.mask_head.3.0.weight",
    "head.regression_head.conv.6.bias": "head.regression_head.conv.3.0.bias",
}


def test_names_of_published_files_are_renamed():
    """They are older than torchvision's blocks, and current names stay as they are."""
    for names in (RENAMED, RENAMED.values()):
        state = {name: np.full(3, i) for i, name in enumerate(names)}
        assert list(torchvision_names(state)) == list(RENAMED.values())
    kept = ["head.classification_head.conv.1.1.weight", "backbone.fpn.extra_blocks.p6.weight"]
    assert list(torchvision_names(dict.fromkeys(kept, np.ones(3)))) == kept
