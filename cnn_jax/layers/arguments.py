"""What operators take: the axes of arrays, integers in place of floats, and the dtype of sums."""

import jax.numpy as jnp
from jaxtyping import Array, DTypeLike, Float, Shaped

from cnn_jax.errors import ConfigError

IMAGES = "batch height width channels"

Images = Shaped[Array, IMAGES]


def check_axes(axes: str, **arrays: Array | None) -> None:
    """Raise ConfigError unless the arrays have these axes.

    Args:
        axes: as in an annotation; "*batch channels" is any number of axes before the channels.
        arrays: by the names of the arguments; None is left out.
    """
    names = axes.split()
    required = [name for name in names if not name.startswith("*")]
    for name, array in arrays.items():
        if array is None:
            continue
        rank = jnp.ndim(array)
        if rank == len(required) or (rank > len(required) < len(names)):
            continue
        expected = ", ".join(f"{axis[1:]}…" if axis.startswith("*") else axis for axis in names)
        lacks_batch = names[0] == "batch" and rank == len(required) - 1
        hint = f"; a single one is {name}[None]" if lacks_batch else ""
        raise ConfigError(
            f"{name} must have the axes [{expected}], got shape {jnp.shape(array)}{hint}"
        )


def as_images(x: Images, name: str = "x") -> Float[Array, "batch height width channels"]:
    """The argument of that name, images, as floats, see `as_float`.

    Raises:
        ConfigError: if they are not [batch, height, width, channels].
    """
    check_axes(IMAGES, **{name: x})
    return as_float(x)


def as_float(x: Shaped[Array, "*shape"], *others: Array) -> Float[Array, "*shape"]:
    """x, where integers and booleans become floats: of the others' dtype, or JAX's default."""
    x = jnp.asarray(x)
    if jnp.issubdtype(x.dtype, jnp.inexact):
        return x
    return x.astype(jnp.result_type(float, *others))


def wide(*arrays: Array) -> DTypeLike:
    """The dtype in which sums over the arrays are computed: theirs, but float32 at least."""
    return jnp.promote_types(jnp.result_type(*arrays), jnp.float32)
