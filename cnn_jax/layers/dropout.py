"""DropOut: in training, values or whole channels are set to zero at random.

The other values are divided by the probability of being kept ("inverted" scaling), so that the
expectation is the input and evaluation changes nothing. Sources: Srivastava et al. 2014; for whole
channels, because neighbouring pixels are alike, Tompson et al. 2015, section 3.2.

One key draws the mask of a whole batch. Under `jit` over a mesh this is the global batch. Under
`pmap` every device needs its own key, which the training step passes.
"""

import jax
import jax.numpy as jnp
from flax import linen as nn
from jaxtyping import Array, Float, PRNGKeyArray, Shaped

from cnn_jax.layers.arguments import IMAGES, Images, as_float, as_images, check_axes


def dropout(
    key: PRNGKeyArray, x: Shaped[Array, "*shape"], rate: float, *, train: bool
) -> Float[Array, "*shape"]:
    """Set each value to zero with probability `rate`, as `torch.nn.functional.dropout`.

    Args:
        key: a key for this call only; layers with the same key drop the same values.
        x: any shape.
        rate: probability of being dropped, in [0, 1]; kept values are divided by 1 - rate.
        train: False returns x.

    Raises:
        ValueError: if the rate is not in [0, 1].
    """
    return _drop(key, x, rate, jnp.shape(x), train)


def spatial_dropout(
    key: PRNGKeyArray,
    x: Images,
    rate: float,
    *,
    train: bool,
) -> Float[Array, "batch height width channels"]:
    """Set whole channels of each image to zero, as `torch.nn.functional.dropout2d`.

    Args:
        key: a key for this call only.
        x: images.
        rate: probability that a channel of an image is dropped, in [0, 1].
        train: False returns x.

    Raises:
        ValueError: if the rate is not in [0, 1].
    """
    check_axes(IMAGES, x=x)
    return _drop(key, x, rate, (x.shape[0], 1, 1, x.shape[3]), train)


def _drop(key: Array, x: Array, rate: float, shape: tuple[int, ...], train: bool) -> Array:
    if not 0 <= rate <= 1:
        raise ValueError(f"the dropout rate is a probability in [0, 1], got {rate}")
    x = as_float(x)
    if not train or rate == 0:
        return x
    scale = 1 / (1 - rate) if rate < 1 else 0.0
    kept = jax.random.bernoulli(key, 1 - rate, shape)
    # A product and not a selection: as in PyTorch, NaN and infinity are not hidden.
    return x * jnp.where(kept, scale, 0.0).astype(x.dtype)


class Dropout(nn.Module):
    """`dropout` with keys from the random stream "dropout", as `torch.nn.Dropout`.

    Pass `rngs={"dropout": key}` to `apply` in training. Each layer draws its own key from it. A
    layer with a rate of 0 needs none.

    Attributes:
        rate: probability of being dropped, in [0, 1].
    """

    rate: float

    @nn.compact
    def __call__(self, x: Shaped[Array, "*shape"], *, train: bool) -> Float[Array, "*shape"]:
        if not train or self.rate == 0:
            return as_float(x)
        return dropout(self.make_rng("dropout"), x, self.rate, train=train)


class SpatialDropout(nn.Module):
    """`spatial_dropout` with keys from the stream "dropout", as `torch.nn.Dropout2d`.

    Attributes:
        rate: probability that a channel of an image is dropped, in [0, 1].
    """

    rate: float

    @nn.compact
    def __call__(self, x: Images, *, train: bool) -> Float[Array, "batch height width channels"]:
        if not train or self.rate == 0:
            return as_images(x)
        return spatial_dropout(self.make_rng("dropout"), x, self.rate, train=train)
