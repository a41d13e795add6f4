"""Records the names and shapes of timm's state dicts, as one number per model.

Run from the project's root, with torch, torchvision and timm installed:
python -m tests.references.record_timm
"""

import json
import zlib
from pathlib import Path

from tests.references.torchvision_models import import_torchvision

MODELS = (
    *("resnet18", "resnet34", "resnet50", "resnet101", "resnet152"),
    *("resnext50_32x4d", "resnext101_32x8d", "wide_resnet50_2", "wide_resnet101_2"),
    *("vgg11", "vgg11_bn", "vgg13", "vgg13_bn", "vgg16", "vgg16_bn", "vgg19", "vgg19_bn"),
    *("densenet121", "densenet161", "densenet169", "densenet201"),
)

# VGG's classifier: timm keeps its first two layers as convolutions.
VGG = {
    "classifier.0": "pre_logits.fc1",
    "classifier.3": "pre_logits.fc2",
    "classifier.6": "head.fc",
}


def in_timms_names(shapes):
    """Shapes by timm's names, from shapes by torchvision's names."""
    renamed = {}
    for name, shape in shapes.items():
        layer, _, kind = name.rpartition(".")
        if layer in ("classifier.0", "classifier.3") and kind == "weight":
            side = 7 if layer == "classifier.0" else 1
            shape = (shape[0], shape[1] // side**2, side, side)
        renamed[f"{VGG.get(layer, layer)}.{kind}"] = shape
    return renamed


def names_digest(shapes):
    """The number of names, and a checksum of names and shapes."""
    text = "\n".join(sorted(f"{name} {shape}" for name, shape in shapes.items()))
    return [len(shapes), zlib.crc32(text.encode())]


if __name__ == "__main__":
    import torch

    import_torchvision()  # timm needs it
    import timm

    records = {"timm": timm.__version__}
    with torch.device("meta"):
        for name in MODELS:
            state = timm.create_model(name).state_dict()
            records[name] = names_digest({key: tuple(value.shape) for key, value in state.items()})
    path = Path(__file__).with_name("timm_names.json")
    path.write_text(json.dumps(records, indent=1) + "\n")
