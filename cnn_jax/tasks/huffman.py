"""Huffman's tree of a vocabulary, for hierarchical softmax."""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float32, Int, Int32


class Paths(NamedTuple):
    """The way from the root to each word.

    Attributes:
        nodes: inner nodes on the way, 0 to words - 2; 0 beyond its end.
        signs: 1 for the first branch of a node, -1 for the second, 0 beyond the end.
    """

    nodes: Int32[np.ndarray, "words depth"]
    signs: Float32[np.ndarray, "words depth"]


def huffman_paths(counts: Int[np.ndarray, " words"]) -> Paths:
    """The paths of a Huffman tree: frequent words have short ones (Huffman 1952).

    Args:
        counts: how often each word occurs; at least two words.

    Raises:
        ValueError: fewer than two words.
    """
    number = len(counts)
    if number < 2:
        raise ValueError(f"a tree needs at least 2 words, got {number}")
    order = np.argsort(counts, kind="stable")
    # Two queues, both in ascending order: leaves, and inner nodes as they are made.
    weights = [*np.asarray(counts, np.int64)[order].tolist()]
    parent, second = np.zeros(2 * number - 1, np.int64), np.zeros(2 * number - 1, bool)
    leaf, inner = 0, number
    for made in range(number, 2 * number - 1):
        pair = []
        for _ in range(2):
            if leaf < number and (inner >= made or weights[leaf] <= weights[inner]):
                pair.append(leaf)
                leaf += 1
            else:
                pair.append(inner)
                inner += 1
        parent[pair], second[pair[1]] = made, True
        weights.append(weights[pair[0]] + weights[pair[1]])
    root = 2 * number - 2
    depth = np.zeros(2 * number - 1, np.int64)
    for node in range(root - 1, -1, -1):
        depth[node] = depth[parent[node]] + 1
    deepest = int(depth.max())
    nodes, signs = np.zeros((number, deepest), np.int32), np.zeros((number, deepest), np.float32)
    at, place = np.arange(number), depth[:number].copy()
    while (moving := at != root).any():
        words, here = order[moving], place[moving] - 1
        nodes[words, here] = parent[at[moving]] - number
        signs[words, here] = np.where(second[at[moving]], -1, 1)
        at[moving], place[moving] = parent[at[moving]], here
    return Paths(nodes, signs)
