"""A number for each channel, beside an array with channels."""

from jaxtyping import Array, Float


def per_channel(
    values: Float[Array, " channels"], x: Float[Array, "*batch channels"]
) -> Float[Array, "*ones channels"]:
    """The values with axes of size 1 in front, so that their rank is that of x."""
    # The transpose of a reshape is a reshape, that of `jnp.expand_dims` a sum.
    return values.reshape(*[1] * (x.ndim - 1), -1)
