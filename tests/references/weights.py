"""Weights, images and labels that are equal on every machine, and the digest of a tensor.

The scripts that record references and the tests that compare with them share this file.
"""

import zlib

import numpy as np

NUMBER_OF_CLASSES = 10
INDICES = 8


def weights(shapes):
    """A random array for every name of a PyTorch state dict; the name is the seed.

    The scales are those of an initialized network (kernels by He's fan-out, scales around one,
    positive variances), so that activations keep their size through the depth.
    """
    return {name: _weight(name, shape) for name, shape in shapes.items()}


def _weight(name, shape):
    normal = np.random.default_rng(zlib.crc32(name.encode())).standard_normal(shape)
    if len(shape) == 4:
        return normal * np.sqrt(2 / (shape[0] * shape[2] * shape[3]))
    if len(shape) == 2:
        return normal * np.sqrt(1 / shape[1])
    if name.endswith("running_var"):
        return 1 + 0.5 * np.abs(normal)
    if name.endswith("bias") or name.endswith("running_mean"):
        return 0.1 * normal
    return 1 + 0.1 * normal


def images_and_labels(batch, size):
    """Images [batch, size, size, 3] and labels [batch]."""
    generator = np.random.default_rng(0)
    images = generator.standard_normal((batch, size, size, 3))
    return images, generator.integers(NUMBER_OF_CLASSES, size=batch).astype(np.int32)


def digest(array):
    """Shape, norm and the values at eight evenly spaced indices of the flat array."""
    array = np.asarray(array, np.float64)
    return {
        "shape": list(array.shape),
        "norm": _rounded(np.linalg.norm(array)),
        "values": [_rounded(value) for value in array.ravel()[_indices(array.size)]],
    }


def _rounded(value):
    return float(f"{value:.12g}")


def _indices(size):
    return np.linspace(0, size - 1, INDICES).astype(int)
