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
# torchvision's detectors before 2022, whose published files still have these names: a convolution
# was no block of its own.
_OLD_DETECTORS = (
    (re.compile(r"(.*fpn\.(?:inner|layer)_blocks\.\d+)\.(weight|bias)"), r"\1.0.\2"),
    (re.compile(r"(rpn\.head\.conv)\.(weight|bias)"), r"\1.0.0.\2"),
)
# Statistics of instance normalization, which PyTorch before 0.4 stored and nothing uses.
_INSTANCE_STATISTICS = re.compile(r"(?:res\d+\.)?in\d+\.running_(?:mean|var)")
_OLD_MASK_HEAD = re.compile(r"(roi_heads\.mask_head)\.mask_fcn(\d+)\.(weight|bias)")
_OLD_RETINANET_HEAD = re.compile(r"(head\.\w+_head\.conv)\.(\d+)\.(weight|bias)")

# ResNets for CIFAR in akamaster/pytorch_resnet_cifar10 and kuangliu/pytorch-cifar.
_CIFAR = {"linear.": "fc.", ".shortcut.": ".downsample."}


def torchvision_names(state: Mapping[str, Any]) -> dict[str, Any]:
    """The same weights with torchvision's names and shapes.

    This renames timm's VGG, whose classifier has 7x7 and 1x1 convolutions, DenseNets and detectors
    saved before torchvision renamed their layers ("norm.1", "inner_blocks.0"), such as its
    published files, and the widespread ResNets for CIFAR with a classifier "linear" (see
    `is_cifar_resnet`). Statistics of instance normalization in old files of PyTorch's example
    fast_neural_style are left out. Other names are kept; timm's ResNet, ResNeXt, Wide ResNet,
    DenseNet and Inception v3 have torchvision's names.

    For images of other sizes than 224x224, timm's VGG differs from torchvision's with the same
    weights: it applies the classifier at every position of the map, while torchvision pools the
    map to 7x7 first.
    """
    if is_cifar_resnet(state):
        return {_replaced(name, _CIFAR): array for name, array in state.items()}
    renamed = {}
    for name, array in state.items():
        if _INSTANCE_STATISTICS.fullmatch(name):
            continue
        layer, _, kind = name.rpartition(".")
        if layer in _TIMM_VGG and "pre_logits.fc1.weight" in state:
            name = f"{_TIMM_VGG[layer]}.{kind}"
            # [out, channels, 7, 7] in C order is [out, channels * 7 * 7] of the flattened map.
            array = array.reshape(len(array), -1) if kind == "weight" else array
        elif match := _OLD_DENSENET.fullmatch(name):
            name = match[1] + match[2]
        renamed[_detector_name(name)] = array
    return renamed


def _detector_name(name: str) -> str:
    """Torchvision's current name of a layer of a detector."""
    for old, new in _OLD_DETECTORS:
        name = old.sub(new, name) if old.fullmatch(name) else name
    if match := _OLD_MASK_HEAD.fullmatch(name):
        return f"{match[1]}.{int(match[2]) - 1}.0.{match[3]}"
    if match := _OLD_RETINANET_HEAD.fullmatch(name):
        # Every second layer was the ReLU.
        return f"{match[1]}.{int(match[2]) // 2}.0.{match[3]}"
    return name


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
