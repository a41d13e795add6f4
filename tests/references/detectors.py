"""torchvision's detectors, on small bodies and with weights that are equal on every machine."""

import numpy as np

from tests.references.weights import weights


def torch_backbone(encoder, coarser, levels):
    """torchvision's pyramid on a ResNet with BatchNorm that can be frozen."""
    from torchvision.models.detection.backbone_utils import resnet_fpn_backbone
    from torchvision.ops.feature_pyramid_network import LastLevelP6P7

    channels = {"resnet18": 512, "resnet50": 2048}[encoder]
    extra = {"p5": (256, 256), "c5": (channels, 256)}
    blocks = LastLevelP6P7(*extra[coarser]) if coarser in extra else None
    return resnet_fpn_backbone(
        backbone_name=encoder,
        weights=None,
        trainable_layers=5,
        returned_layers=list(range(5 - levels, 5)),
        extra_blocks=blocks,
    )


def keep_images(model):
    """Let a detector of torchvision take images as they are: no resizing, no normalization."""
    transform = model.transform
    transform.normalize = lambda image: image
    transform.resize = lambda image, target=None: (image, target)
    return model


def drawn_state(shapes):
    """A state dict; the last layers are scaled so that scores and boxes vary."""
    state = weights(shapes)
    for name, shape in shapes.items():
        if name.endswith(("cls_logits.weight", "bbox_reg.weight", "bbox_pred.weight")):
            state[name] = state[name] * 0.3
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
        # Within the image: torchvision's roi_align without its extension has other values outside.
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
