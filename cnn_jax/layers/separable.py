"""Linear maps of images with one matrix for the height and one for the width."""

import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Float

from cnn_jax.layers.arguments import wide


def map_axes(
    x: Float[Array, "batch height width channels"],
    rows: Float[np.ndarray, "out_height height"],
    columns: Float[np.ndarray, "out_width width"],
) -> Float[Array, "batch out_height out_width channels"]:
    """Weighted sums of rows and of columns, in full precision on every device.

    A pixel that is not finite makes its whole image NaN, because zero times infinity is NaN.
    """
    dtype, precision = wide(x), lax.Precision.HIGHEST
    y = jnp.einsum("oh,bhwc->bowc", rows.astype(dtype), x.astype(dtype), precision=precision)
    y = jnp.einsum("pw,bowc->bopc", columns.astype(dtype), y, precision=precision)
    return y.astype(x.dtype)
