"""Option A shortcuts of ResNets whose zero channels lie elsewhere than ours.

Our option A adds the channels of zeros behind the others, as the paper describes it.
https://github.com/akamaster/pytorch_resnet_cifar10 adds half of them before and half after. Both
networks compute the same if the channels of their stages are in corresponding orders.
"""

import re
from itertools import count

import numpy as np

State = dict[str, np.ndarray]
"""Arrays by torchvision's names, in PyTorch's layout."""

_LAYER = re.compile(r"layer(\d+)\.(\d+)\.(\w+)\.\w+")


def zeros_moved_behind(state: State) -> State:
    """The weights for zeros behind, of a network with zeros half before and half after."""
    return _reordered(state, _orders(state))


def zeros_moved_around(state: State) -> State:
    """The weights for zeros half before and half after, of a network with zeros behind."""
    return _reordered(state, [np.argsort(order) for order in _orders(state)])


def _orders(state: State) -> list[np.ndarray]:
    """Of each stage, the channel with zeros around for every channel with zeros behind."""
    orders: list[np.ndarray] = []
    for stage in count(1):
        last = state.get(f"layer{stage}.0.conv2.weight")
        if last is None:
            return orders
        channels = np.arange(len(last))
        if orders:
            kept = orders[-1] + len(last) // 4
            channels = np.concatenate([kept, np.setdiff1d(channels, kept)])
        orders.append(channels)
    return orders


def _reordered(state: State, orders: list[np.ndarray]) -> State:
    result = {}
    for name, array in state.items():
        if match := _LAYER.fullmatch(name):
            stage, block, layer = int(match[1]), int(match[2]), match[3]
            if layer == "conv1":  # from the channels before the block to its inner ones
                before = orders[max(0, stage - 2) if block == 0 else stage - 1]
                array = array[:, before]
            elif layer in ("conv2", "bn2"):
                array = array[orders[stage - 1]]
        elif name == "fc.weight":
            array = array[:, orders[-1]]
        result[name] = array
    return result
