"""The classifiers that are compared with torchvision's.

An entry of `CLASSIFIERS` has the name of a model (ours and torchvision's), the module of
torchvision's for each of our features, and the attributes with which both are the same network.
`pytest --full` compares every entry with torchvision itself, at each of its sizes.

An entry of `RECORDED` is the same at one small odd size, for one model per family, in every run of
the tests. `python -m tests.references.record_models NAME` writes its record, NAME.json, with which
`tests/pretrained/test_parity.py` compares without torch.
"""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

from cnn_jax.models import googlenet, inception


@dataclass(frozen=True)
class Classifier:
    """A model that torchvision and we have, and how both are created."""

    name: str
    features: dict[str, str]
    """Torchvision's module, as in `get_submodule`, by the name of our feature."""
    attributes: dict[str, Any] = field(default_factory=dict)
    """Attributes of our model, including a dropout rate of zero; torchvision's is set to zero."""
    torch_attributes: dict[str, Any] = field(default_factory=dict)
    auxiliary_weight: float = 0.0
    """Weight of the losses of the auxiliary classifiers."""
    edit: Callable[[Any], None] | None = None
    """Changes torchvision's model before the weights are loaded."""
    sizes: tuple[int, ...] = (224, 257)
    """Heights and widths of the images. With 257 pixels, the bins of adaptive pooling overlap. With
    97 pixels, there are more bins than pixels in the last map."""


def narrow_classifier(model: Any) -> None:
    """Reduce the hidden layers of AlexNet and VGG, which have most weights, to 32 neurons."""
    import torch

    linear = [i for i, layer in enumerate(model.classifier) if isinstance(layer, torch.nn.Linear)]
    widths = [model.classifier[linear[0]].in_features, 32, 32]
    for position, inputs in zip(linear, widths, strict=True):
        outputs = 32 if position != linear[-1] else model.classifier[position].out_features
        model.classifier[position] = torch.nn.Linear(inputs, outputs)


def vgg_features(stage_sizes: tuple[int, ...], norm: bool) -> dict[str, str]:
    """The modules of all ReLUs and poolings in torchvision's `features`."""
    features, position = {}, -1
    for stage, size in enumerate(stage_sizes, start=1):
        for number in range(1, size + 1):
            position += 3 if norm else 2
            features[f"conv{stage}_{number}"] = f"features.{position}"
        position += 1
        features[f"stage{stage}"] = f"features.{position}"
    return features


ALEXNET = {f"conv{i}": f"features.{m}" for i, m in enumerate((1, 4, 7, 9, 11), start=1)} | {
    f"stage{i}": f"features.{m}" for i, m in enumerate((2, 5, 12), start=1)
}
VGG = {
    "vgg11": (1, 1, 2, 2, 2),
    "vgg13": (2, 2, 2, 2, 2),
    "vgg16": (2, 2, 3, 3, 3),
    "vgg19": (2, 2, 4, 4, 4),
}
RESNET = {"stem": "relu"} | {f"stage{i}": f"layer{i}" for i in range(1, 5)}
GOOGLENET = {"stem": "conv3"} | {name: name for name in googlenet.BLOCKS}
INCEPTION = {"stem": "Conv2d_4a_3x3"} | {name.lower(): name for name in inception.BLOCKS}
DENSENET = {"stem": "features.relu0"} | {
    **{f"stage{i}": f"features.denseblock{i}" for i in range(1, 4)},
    # Its output includes the ReLU after it, which works in place.
    "stage4": "features.norm5",
}
WITH_AUXILIARY = {"aux_logits": True, "transform_input": True}

ENTRIES = [
    Classifier("alexnet", ALEXNET, {"dropout": 0.0}),
    *(Classifier(n, vgg_features(s, norm=False), {"dropout": 0.0}) for n, s in VGG.items()),
    *(Classifier(f"{n}_bn", vgg_features(s, norm=True), {"dropout": 0.0}) for n, s in VGG.items()),
    *(Classifier(f"resnet{depth}", RESNET) for depth in (18, 34, 50, 101, 152)),
    *(Classifier(name, RESNET) for name in ("resnext50_32x4d", "resnext101_32x8d")),
    *(Classifier(name, RESNET) for name in ("wide_resnet50_2", "wide_resnet101_2")),
    Classifier(
        "googlenet",
        GOOGLENET,
        {"dropout": 0.0, "dropout_aux": 0.0, **WITH_AUXILIARY},
        {"init_weights": False, **WITH_AUXILIARY},
        auxiliary_weight=0.3,
    ),
    Classifier(
        "inception_v3",
        INCEPTION,
        {"dropout": 0.0, **WITH_AUXILIARY},
        {"init_weights": False, **WITH_AUXILIARY},
        auxiliary_weight=0.4,
        sizes=(299, 321),
    ),
    *(Classifier(f"densenet{depth}", DENSENET) for depth in (121, 161, 169, 201)),
]
# They differ from smaller members of their families only in depth or width, and take minutes with
# 257 pixels.
LARGER = {f"vgg{depth}{norm}" for depth in (13, 16, 19) for norm in ("", "_bn")} | {
    *("vgg11_bn", "resnet152", "resnext101_32x8d", "wide_resnet50_2", "wide_resnet101_2"),
    *("densenet161", "densenet201"),
}
CLASSIFIERS = {
    entry.name: replace(entry, sizes=(224, 97)) if entry.name in LARGER else entry
    for entry in ENTRIES
}
CLASSIFIERS["resnet50_dilated"] = Classifier(
    "resnet50",
    RESNET,
    {"dilated_stages": 2},
    {"replace_stride_with_dilation": (False, True, True)},
    sizes=(97,),
)


def small(name: str, size: int, **changes: Any) -> Classifier:
    """The entry of that name at a single size, with changes."""
    return replace(CLASSIFIERS[name], sizes=(size,), **changes)


NARROW = {"attributes": {"dropout": 0.0, "hidden": (32, 32)}, "edit": narrow_classifier}
SMALL = [
    small("alexnet", 97, **NARROW),
    small("vgg11_bn", 65, **NARROW),
    small("resnet18", 65),
    small("resnext50_32x4d", 65),
    # 6 pixels in 4 bins before the auxiliary classifiers.
    small("googlenet", 97),
    # Its auxiliary classifier needs 299 pixels.
    small(
        "inception_v3",
        107,
        attributes={"dropout": 0.0},
        torch_attributes={"init_weights": False, "aux_logits": False},
    ),
    small("densenet121", 65),
]
RECORDED = {entry.name: entry for entry in SMALL}
