"""Occlusion maps: the score of an image with a part of it hidden."""

import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float

from cnn_jax.interpretability.score import Score


def occlusion_map(
    score: Score,
    image: Float[Array, "height width channels"],
    *,
    size: int,
    stride: int,
    fill: float = 0.5,
    batch_size: int = 32,
) -> Float[Array, "rows columns"]:
    """The score of an image with a gray square at each position of a grid.

    Zeiler and Fergus 2014, "Visualizing and Understanding Convolutional Networks", section 4.2.
    There the score is the probability of the correct class, which falls where the square hides
    what the network needs.

    The image is divided into cells of `stride` pixels, starting at its upper left corner. The last
    cells may extend beyond the image. Each square is centred on its cell.

    Args:
        score: function of images that is explained.
        image: input of the score.
        size: height and width of the square, in pixels. At least `stride`, so that every pixel is
            hidden at some position.
        stride: height and width of a cell, in pixels.
        fill: value of the pixels in the square. 0.5 is middle gray for images in [0, 1].
        batch_size: images per call of the score.

    Raises:
        ValueError: `stride` or `batch_size` is below 1, or `size` is below `stride`.
    """
    if not 1 <= stride <= size or batch_size < 1:
        raise ValueError(
            f"expected 1 <= stride <= size and a batch size of at least 1, got "
            f"stride {stride}, size {size} and batch size {batch_size}"
        )
    height, width, _ = image.shape
    rows, columns = -(-height // stride), -(-width // stride)

    def hidden(cell: Array, length: int) -> Array:
        # Distances in half pixels are integers for every size and stride.
        distance = 2 * jnp.arange(length) + 1 - (2 * cell + 1) * stride
        return (-size <= distance) & (distance < size)

    def occluded(place: Array) -> Array:
        row, column = place // columns, place % columns
        square = hidden(row, height)[:, None] & hidden(column, width)[None, :]
        return jnp.where(square[..., None], jnp.asarray(fill, image.dtype), image)

    def scores(places: Array) -> Array:
        return score(jnp.stack([occluded(place) for place in places]))

    count = rows * columns
    batch_size = min(batch_size, count)
    # The last batch is padded with places outside the image, whose scores are dropped.
    batches = -(-count // batch_size)
    places = jnp.arange(batches * batch_size).reshape(batches, batch_size)
    return lax.map(scores, places).reshape(-1)[:count].reshape(rows, columns)
