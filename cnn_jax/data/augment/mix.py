"""Mixtures of two examples of a batch and of their labels: mixup and CutMix.

The partner of example i of b is example b - 1 - i, as in timm; both of a pair, and all pairs of a
batch, are mixed with one lambda, as in the papers' own code. So the mixture is a function of the
key and of the order of the batch.
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
    """lambda times each image and its label plus 1 - lambda times its partner's.

    Zhang et al. 2018; lambda is Beta(alpha, alpha).

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
    """A box of each image is replaced by its partner's; labels are mixed by the exact areas.

    Yun et al. 2019: the box has the image's shape and the area 1 - lambda, where lambda is
    Beta(alpha, alpha); its centre is anywhere in the image, and what sticks out is cut off.

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
        """(x0, y0, x1, y1) of the box, in whole pixels."""
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
    """Each image with its partner's pixels inside the box, and the share of pixels it kept."""
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
