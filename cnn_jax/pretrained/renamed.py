"""State dicts with other names than torchvision's current ones."""

import re

import numpy as np

# timm's VGG (vgg.py), where the first two layers of the classifier are convolutions.
_TIMM_VGG = {
    "pre_logits.fc1": "classifier.0",
    "pre_logits.fc2": "classifier.3",
    "head.fc": "classifier.6",
}
# DenseNet's names before 2018, which torchvision's published files still have (densenet.py).
_OLD_DENSENET = re.compile(r"(.*\.denselayer\d+\.(?:norm|conv))\.([12]\.\w+)")


def torchvision_names(state: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """The same weights with torchvision's names and shapes.

    This renames timm's VGG, whose classifier has 7x7 and 1x1 convolutions, and DenseNets saved
    before torchvision renamed their layers ("norm.1", "conv.2"), such as its published files.
    Other names are kept; timm's ResNet, ResNeXt, Wide ResNet, DenseNet and Inception v3 have
    torchvision's names.

    For images of other sizes than 224x224, timm's VGG differs from torchvision's with the same
    weights: it applies the classifier at every position of the map, while torchvision pools the
    map to 7x7 first.
    """
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
