"""State dicts with other names than torchvision's current ones."""

import re
from collections.abc import Mapping
from typing import Any

# timm's VGG (vgg.py), where the first two layers of the classifier are convolutions.
_TIMM_VGG = {
    "pre_logits.fc1": "classifier.0",
    "pre_logits.fc2": "classifier.3",
    "head.fc": "classifier.6",
}
# DenseNet's names before 2018, which torchvision's published files still have (densenet.py).
_OLD_DENSENET = re.compile(r"(.*\.denselayer\d+\.(?:norm|conv))\.([12]\.\w+)")


# ResNets for CIFAR in akamaster/pytorch_resnet_cifar10 and kuangliu/pytorch-cifar.
_CIFAR = {"linear.": "fc.", ".shortcut.": ".downsample."}


def torchvision_names(state: Mapping[str, Any]) -> dict[str, Any]:
    """The same weights with torchvision's names and shapes.

    This renames timm's VGG, whose classifier has 7x7 and 1x1 convolutions, DenseNets saved before
    torchvision renamed their layers ("norm.1", "conv.2"), such as its published files, and the
    widespread ResNets for CIFAR with a classifier "linear" (see `is_cifar_resnet`). Other names are
    kept; timm's ResNet, ResNeXt, Wide ResNet, DenseNet and Inception v3 have torchvision's names.

    For images of other sizes than 224x224, timm's VGG differs from torchvision's with the same
    weights: it applies the classifier at every position of the map, while torchvision pools the
    map to 7x7 first.
    """
    if is_cifar_resnet(state):
        return {_replaced(name, _CIFAR): array for name, array in state.items()}
    renamed = {}
    for name, array in state.items():
        layer, _, kind = name.rpartition(".")
        if layer in _TIMM_VGG and "pre_logits.fc1.weight" in state:
            name = f"{_TIMM_VGG[layer]}.{kind}"
            # [out, channels, 7, 7] in C order is [out, channels * 7 * 7] of the flattened map.
            array = array.reshape(len(array), -1) if kind == "weight" else array
        elif match := _OLD_DENSENET.fullmatch(name):
            name = match[1] + match[2]
        renamed[name] = array
    return renamed


def cifar_resnet_names(state: Mapping[str, Any]) -> dict[str, Any]:
    """The inverse of `torchvision_names` for a ResNet."""
    back = {new: old for old, new in _CIFAR.items()}
    return {_replaced(name, back): array for name, array in state.items()}


def is_cifar_resnet(state: Mapping[str, Any]) -> bool:
    """Whether the names are those of pytorch_resnet_cifar10 or pytorch-cifar."""
    return "linear.weight" in state and "layer1.0.conv1.weight" in state


def is_option_a(state: Mapping[str, Any]) -> bool:
    """Whether the names are those of a ResNet of basic blocks without parameters in shortcuts."""
    parts = {part for name in state for part in name.split(".")}
    return not parts & {"shortcut", "downsample", "conv3"}


def _replaced(name: str, replacements: Mapping[str, str]) -> str:
    for old, new in replacements.items():
        name = name.replace(old, new)
    return name
