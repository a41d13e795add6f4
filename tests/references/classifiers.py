"""Which classifiers are compared with torchvision's, at which sizes, and map by map.

A model is an entry of `CLASSIFIERS`: its name (ours is torchvision's), the module of torchvision's
whose output is each of our features, and what both are made with so that they are the same
network. `pytest --full` compares every entry with torchvision itself, at each of its sizes.

A family has an entry of `RECORDED`, small enough for every run of the suite: the same, at one small
and odd size. `python -m tests.references.record_models NAME` writes its record, NAME.json; the
tests in `tests/pretrained/test_parity.py` then compare with it, without torch.
"""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any


@dataclass(frozen=True)
class Classifier:
    """A model of torchvision's and ours, made alike."""

    name: str
    features: dict[str, str]
    """Torchvision's module, as `get_submodule` finds it, by the name of our feature."""
    attributes: dict[str, Any] = field(default_factory=dict)
    """Of ours. Dropout belongs here, as zero; torchvision's is taken out wherever it is."""
    torch_attributes: dict[str, Any] = field(default_factory=dict)
    auxiliary_weight: float = 0.0
    """Weight of the auxiliary classifiers' losses, where attributes ask for them."""
    edit: Callable[[Any], None] | None = None
    """What is changed in torchvision's model before the weights are put in."""
    sizes: tuple[int, ...] = (224, 257)
    """Heights and widths of the images. 257 pixels leave the last map an odd number that the
    seven and six bins of adaptive pooling do not divide: they overlap."""


def narrow_classifier(model: Any) -> None:
    """Make the hidden layers of AlexNet's and VGG's classifier 32 wide: they hold most weights."""
    import torch

    linear = [i for i, layer in enumerate(model.classifier) if isinstance(layer, torch.nn.Linear)]
    widths = [model.classifier[linear[0]].in_features, 32, 32]
    for position, inputs in zip(linear, widths, strict=True):
        outputs = 32 if position != linear[-1] else model.classifier[position].out_features
        model.classifier[position] = torch.nn.Linear(inputs, outputs)


RESNET = {"stem": "relu"} | {f"stage{i}": f"layer{i}" for i in range(1, 5)}

ENTRIES = [
    *(Classifier(f"resnet{depth}", RESNET) for depth in (18, 34, 50, 101, 152)),
]
CLASSIFIERS = {entry.name: entry for entry in ENTRIES}


def small(name: str, size: int, **changes: Any) -> Classifier:
    """The entry of that name at one size alone, with changes."""
    return replace(CLASSIFIERS[name], sizes=(size,), **changes)


SMALL = [
    small("resnet18", 65),
    small("resnet50", 65),
]
RECORDED = {entry.name: entry for entry in SMALL}
