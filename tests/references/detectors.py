"""torchvision's detectors, on small bodies and with weights that are equal on every machine."""

import numpy as np

from tests.references.weights import weights


def torch_backbone(encoder, coarser, levels, channels, normalized=False):
    """torchvision's pyramid on a ResNet; normalized has BatchNorm in both, else it is frozen."""
    from torch import nn
    from torchvision.models.detection.backbone_utils import BackboneWithFPN
    from torchvision.models.resnet import resnet18, resnet50
    from torchvision.ops import FrozenBatchNorm2d
    from torchvision.ops.feature_pyramid_network import LastLevelP6P7

    norm = nn.BatchNorm2d if normalized else FrozenBatchNorm2d
    make, widest = {"resnet18": (resnet18, 512), "resnet50": (resnet50, 2048)}[encoder]
    extra = {"p5": channels, "c5": widest}
    return BackboneWithFPN(
        make(norm_layer=norm),
        {f"layer{5 - level}": str(levels - level) for level in range(levels, 0, -1)},
        [widest // 2 ** (level - 1) for level in range(levels, 0, -1)],
        channels,
        LastLevelP6P7(extra[coarser], channels) if coarser in extra else None,
        norm_layer=norm if normalized else None,
    )


def keep_images(model):
    """Let a detector of torchvision take images as they are: no resizing, no normalization."""
    transform = model.transform
    transform.normalize = lambda image: image
    transform.resize = lambda image, target=None: (image, target)
    return model


def drawn_state(shapes, scale=0.3):
    """A state dict; the last layers are scaled so that scores and boxes vary.

    They must not be so large that several scores are 1, and the order of boxes is not defined.
    """
    state = weights(shapes)
    for name, shape in shapes.items():
        if name.endswith(("cls_logits.weight", "bbox_reg.weight", "bbox_pred.weight")):
            state[name] = state[name] * scale
        if name.endswith(("cls_logits.bias", "cls_score.bias")):
            state[name] = np.full(shape, -2.0)
    return state


def drawn_examples(seed=0, sizes=((64, 64), (50, 61)), most=6, classes=5):
    """Images on a canvas, and boxes: in one image several, in the other none or few.

    Returns a batch of ours.
    """
    rng = np.random.default_rng(seed)
    batch, (height, width) = len(sizes), np.max(sizes, axis=0)
    images = np.zeros((batch, height, width, 3))
    boxes, labels = np.zeros((batch, most, 4)), np.full((batch, most), -1)
    for i, (rows, columns) in enumerate(sizes):
        images[i, :rows, :columns] = rng.normal(size=(rows, columns, 3))
        number = (most - 1, 0, 2)[i % 3]
        # Within the image, as torchvision expects them.
        corners = np.sort(rng.uniform(0, [columns - 3, rows - 3], (number, 2, 2)), axis=1)
        boxes[i, :number] = corners.reshape(number, 4)
        boxes[i, :number, 2:] += 3
        labels[i, :number] = rng.integers(1, classes, number)
    return {
        "image": images,
        "boxes": boxes,
        "box_labels": labels.astype(np.int32),
        "size": np.array(sizes, np.int32),
        "weight": np.ones(batch),
    }


def torch_batch(batch):
    """The images and targets of a batch, as torchvision's detectors take them."""
    import torch

    images, targets = [], []
    for image, size, boxes, labels in zip(
        batch["image"], batch["size"], batch["boxes"], batch["box_labels"], strict=True
    ):
        height, width = size
        images.append(torch.tensor(image[:height, :width].transpose(2, 0, 1)))
        there = labels >= 0
        targets.append(
            {
                "boxes": torch.tensor(boxes[there]),
                "labels": torch.tensor(labels[there], dtype=torch.long),
            }
        )
    return images, targets
