"""Alternating flip: every image and its mirror image in turn, epoch by epoch."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Int, PRNGKeyArray, Shaped


def alternating_flip(
    images: Shaped[Array, "batch height width channels"],
    examples: Int[Array, " batch"],
    epoch: Int[Array, ""] | int,
    key: PRNGKeyArray,
) -> Shaped[Array, "batch height width channels"]:
    """Mirrors each image in every other epoch, and of any two epochs in a row in exactly one.

    A random flip shows half of the images the same way in two epochs in a row; this one never
    does. Which side an example shows first depends on the key and on its place in the split.

    Source: Jordan 2024, "94% on CIFAR-10 in 3.29 Seconds on a Single GPU", "Alternating flip".

    Args:
        images: of any dtype.
        examples: each image's place in the split, `batch["example"]`.
        epoch: number of the epoch, of which all images are.
        key: decides the first sides; the same one throughout a run.
    """
    keys = jax.vmap(jax.random.fold_in, in_axes=(None, 0))(key, examples)
    mirrored = jax.vmap(jax.random.bernoulli)(keys) ^ (epoch % 2 == 1)
    return jnp.where(mirrored[:, None, None, None], images[:, :, ::-1], images)
