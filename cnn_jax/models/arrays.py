"""The arrays that models take and give."""

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

Images = Float[Array | np.ndarray, "batch height width channels"]
Feature = Float[Array, "batch out_height out_width features"]
Logits = Float[Array, "batch classes"]
Latents = Float[Array | np.ndarray, "batch latent"]
Labels = Int[Array | np.ndarray, " batch"]
Tokens = Int[Array | np.ndarray, "batch time"]
PixelLogits = Float[Array, "batch height width classes"]


def at_least_float32(x: Float[Array, "..."]) -> Float[Array, "..."]:
    """Cast half precision to float32; wider arrays stay as they are."""
    return x.astype(jnp.promote_types(x.dtype, jnp.float32))
