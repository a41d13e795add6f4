"""State dicts under other names than torchvision's of today."""

import re

import numpy as np

# VGG's classifier in timm (vgg.py): its first two layers are convolutions there.
_TIMM_VGG = {
    "pre_logits.fc1": "classifier.0",
    "pre_logits.fc2": "classifier.3",
    "head.fc": "classifier.6",
}
# DenseNet's layers before 2018, as in the files that torchvision still publishes (densenet.py).
_OLD_DENSENET = re.compile(r"(.*\.denselayer\d+\.(?:norm|conv))\.([12]\.\w+)")


def torchvision_names(state: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """The same weights under torchvision's names, and in its shapes.

    Known are timm's VGG, whose classifier is kept as 7x7 and 1x1 convolutions, and DenseNets
    saved before torchvision renamed their layers ("norm.1", "conv.2"; its own published files are).
    timm's ResNet, ResNeXt, Wide ResNet, DenseNet and Inception v3 have torchvision's names. All
    others stay as they are.

    At other sizes than 224x224 timm's VGG differs from torchvision's, with the same weights: it
    slides its classifier over the map, where torchvision first pools the map to 7x7.
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
