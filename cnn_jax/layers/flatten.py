"""Feature maps as vectors, in PyTorch's order."""

import math

import jax.numpy as jnp
from jaxtyping import Array, Shaped

from cnn_jax.layers.arguments import IMAGES, Images, check_axes


def flatten(x: Images) -> Shaped[Array, "batch features"]:
    """Each image as one vector, as `torch.flatten(x, 1)` in PyTorch's layout.

    The order is channel by channel, row by row, so that a following linear layer has PyTorch's
    weight, transposed.

    Args:
        x: images; the batch may be empty.

    Returns:
        Vectors of channels * height * width values, in the dtype of x.
    """
    check_axes(IMAGES, x=x)
    # -1 is not defined for an empty batch, and len(x) not for a symbolic batch (`jax.export`).
    return jnp.transpose(x, (0, 3, 1, 2)).reshape(x.shape[0], math.prod(x.shape[1:]))
