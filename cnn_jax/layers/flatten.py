"""Feature maps as vectors, in PyTorch's order."""

import math

import jax.numpy as jnp
from jaxtyping import Array, Float


def flatten(
    x: Float[Array, "batch height width channels"],
) -> Float[Array, "batch features"]:
    """Every image as one vector, as `torch.flatten(x, 1)` of its [batch, channels, …] form.

    Channel by channel, row by row: a linear layer after it then has PyTorch's weight, transposed.

    Args:
        x: images; a batch may be empty.

    Returns:
        Vectors of channels * height * width values.
    """
    # Not -1, which an empty batch leaves undecided; nor len(x), which a batch of unknown size
    # (jax.export) does not have.
    return jnp.transpose(x, (0, 3, 1, 2)).reshape(x.shape[0], math.prod(x.shape[1:]))
