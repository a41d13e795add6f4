"""Mixtures of two examples of a batch and of their labels: mixup and CutMix.

The partner of example i in a batch of b is example b - 1 - i, as in timm. One lambda is drawn per
batch, as in the papers' own code. The mixture is a function of the key and the order of the batch.
"""

from collections.abc import Callable
from dataclasses import dataclass

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, PRNGKeyArray

Images = Float[Array, "batch height width channels"]
Labels = Float[Array, "batch classes"]
Mix = Callable[[PRNGKeyArray, Images, Labels], tuple[Images, Labels]]


@dataclass(frozen=True)
class Mixup:
    """Adds lambda times each example and 1 - lambda times its partner, images and labels alike.

    Lambda is drawn from Beta(alpha, alpha). Source: Zhang et al. 2018.

    Raises:
        ValueError: `alpha` is not positive.
    """

    alpha: float = 0.2

    def __post_init__(self) -> None:
        _check_alpha("mixup", self.alpha)

    def __call__(self, key: PRNGKeyArray, images: Images, labels: Labels) -> tuple[Images, Labels]:
        share = jax.random.beta(key, self.alpha, self.alpha, dtype=images.dtype)
        return blend(images, share), blend(labels, share.astype(labels.dtype))


@dataclass(frozen=True)
class Cutmix:
    """Replaces a box of each image by its partner's pixels, and mixes the labels by area.

    The box has the image's aspect ratio and 1 - lambda of its area, with lambda drawn from
    Beta(alpha, alpha). Its centre is uniform in the image, and it is clipped to the image; the
    labels are mixed by the clipped area. Source: Yun et al. 2019.

    Raises:
        ValueError: `alpha` is not positive.
    """

    alpha: float = 1.0

    def __post_init__(self) -> None:
        _check_alpha("cutmix", self.alpha)

    def __call__(self, key: PRNGKeyArray, images: Images, labels: Labels) -> tuple[Images, Labels]:
        box = self.box(key, images.shape[1], images.shape[2])
        images, kept = paste(images, box)
        return images, blend(labels, kept.astype(labels.dtype))

    def box(self, key: PRNGKeyArray, height: int, width: int) -> Int[Array, "4"]:
        """(x0, y0, x1, y1) of the box, in integer pixels."""
        share_key, place_key = jax.random.split(key)
        share = jax.random.beta(share_key, self.alpha, self.alpha)
        limits = jnp.array([width, height])
        half = (limits * jnp.sqrt(1 - share)).astype(int) // 2
        centre = jax.random.randint(place_key, (2,), 0, limits)
        return jnp.concatenate([jnp.maximum(centre - half, 0), jnp.minimum(centre + half, limits)])


mixup = Mixup
cutmix = Cutmix


def blend(
    values: Float[Array, "batch *rest"], share: Float[Array, ""] | float
) -> Float[Array, "batch *rest"]:
    """`share` times each example plus 1 - `share` times its partner."""
    return share * values + (1 - share) * values[::-1]


def paste(images: Images, box: Int[Array, "4"]) -> tuple[Images, Float[Array, ""]]:
    """Each image with its partner's pixels inside the box, and the share of its own pixels."""
    height, width = images.shape[1:3]
    x0, y0, x1, y1 = box
    rows, columns = jnp.arange(height), jnp.arange(width)
    inside_rows, inside_columns = (rows >= y0) & (rows < y1), (columns >= x0) & (columns < x1)
    inside = inside_rows[None, :, None, None] & inside_columns[None, None, :, None]
    kept = 1 - ((x1 - x0) * (y1 - y0)).astype(images.dtype) / (height * width)
    return jnp.where(inside, images[::-1], images), kept


def _check_alpha(name: str, alpha: float) -> None:
    if alpha <= 0:
        raise ValueError(f"{name}: alpha={alpha}, expected more than 0")
