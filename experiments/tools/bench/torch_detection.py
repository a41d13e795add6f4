"""torchvision's Mask R-CNN, as its users train it. Nothing here imports JAX."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from experiments.tools.bench.side import Missing
from experiments.tools.bench.torchvision_package import import_torchvision


def mask_rcnn(num_classes: int) -> Any:
    """On ResNet-50 with frozen BatchNorm, with detections of any score; images are not resized.

    Raises:
        Missing: torchvision cannot be imported.
    """
    try:
        import_torchvision()
    except (ImportError, RuntimeError) as error:
        raise Missing(
            f"torchvision cannot be imported (CNN_JAX_TORCHVISION_CPU?): {error}"
        ) from error
    from torchvision.models import resnet50
    from torchvision.models.detection import MaskRCNN
    from torchvision.models.detection.backbone_utils import _resnet_fpn_extractor
    from torchvision.ops import FrozenBatchNorm2d

    backbone = _resnet_fpn_extractor(resnet50(norm_layer=FrozenBatchNorm2d), trainable_layers=5)
    model = MaskRCNN(backbone, num_classes, box_score_thresh=0.0)
    # Images are normalized before, and have their size.
    model.transform.normalize = lambda image: image
    model.transform.resize = lambda image, target=None: (image, target)
    return model


def targets(arrays: Mapping[str, np.ndarray], device: str) -> list[dict[str, Any]]:
    """The objects of each image, as torchvision takes them.

    Args:
        arrays: `boxes`, `box_labels` and `instances`.
        device: where they lie.
    """
    import torch

    found = []
    for boxes, labels, ids in zip(
        arrays["boxes"], arrays["box_labels"], arrays["instances"], strict=True
    ):
        masks = ids[None] == np.arange(1, len(labels) + 1)[:, None, None]
        one = {
            "boxes": torch.from_numpy(boxes),
            "labels": torch.from_numpy(labels.astype(np.int64)),
            "masks": torch.from_numpy(masks.astype(np.uint8)),
        }
        found.append({name: value.to(device) for name, value in one.items()})
    return found


def loss_or_score(model: Any, images: Any, targets: list[dict[str, Any]]) -> Any:
    """In training the sum of the losses, in evaluation the mean score of all detections."""
    import torch

    if model.training:
        return torch.stack(list(model(list(images), targets).values())).sum()
    return torch.cat([one["scores"] for one in model(list(images))]).mean()
