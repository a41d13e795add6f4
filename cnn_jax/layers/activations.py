"""Activation functions."""

import jax
from jaxtyping import Array, Float


def relu(x: Float[Array, "*shape"]) -> Float[Array, "*shape"]:
    """max(x, 0), elementwise; the derivative at 0 is 0, as PyTorch's."""
    return jax.nn.relu(x)
