"""Linear maps of images with one matrix for the height and one for the width."""

import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Float


def map_axes(
    x: Float[Array, "batch height width channels"],
    rows: Float[np.ndarray, "out_height height"],
    columns: Float[np.ndarray, "out_width width"],
) -> Float[Array, "batch out_height out_width channels"]:
    """Weighted sums of rows and of columns, in full precision on every device.

    A pixel that is not finite makes its whole image NaN, because zero times infinity is NaN.
    """
    x = jnp.einsum("oh,bhwc->bowc", rows.astype(x.dtype), x, precision=lax.Precision.HIGHEST)
    return jnp.einsum("pw,bowc->bopc", columns.astype(x.dtype), x, precision=lax.Precision.HIGHEST)
