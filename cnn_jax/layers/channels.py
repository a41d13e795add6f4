"""A number for each channel, beside an array with channels."""

import jax.numpy as jnp
from jaxtyping import Array, Float

from cnn_jax.layers.arguments import wide


def per_channel(
    values: Float[Array, " channels"], x: Float[Array, "*batch channels"]
) -> Float[Array, "*ones channels"]:
    """The values with axes of size 1 in front, so that their rank is that of x."""
    # The transpose of a reshape is a reshape, that of `jnp.expand_dims` a sum.
    return values.reshape(*[1] * (x.ndim - 1), -1)


def add_per_channel(
    x: Float[Array, "*batch channels"], bias: Float[Array, " channels"]
) -> Float[Array, "*batch channels"]:
    """The sum x + bias; the gradient of the bias is summed in float32 or wider."""
    dtype = wide(x, bias)
    y = x.astype(dtype) + per_channel(bias.astype(dtype), x)
    return y.astype(jnp.result_type(x, bias))
