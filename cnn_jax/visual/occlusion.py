"""What a network needs to see: its score with a part of the image hidden."""

from collections.abc import Callable

import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float

Images = Float[Array, "batch height width channels"]
Score = Callable[[Images], Float[Array, " batch"]]


def occlusion_map(
    score: Score,
    image: Float[Array, "height width channels"],
    *,
    size: int,
    stride: int,
    fill: float = 0.5,
    batch_size: int = 32,
) -> Float[Array, "rows columns"]:
    """The score of an image with a gray square at each place of a grid.

    Zeiler and Fergus 2014, "Visualizing and Understanding Convolutional Networks", section 4.2,
    with the probability of the correct class as the score: it falls where what is hidden decides.

    The image is divided into cells of `stride` pixels, from its upper left corner on. The square of
    a cell lies around the cell's centre, and what of it is outside of the image hides nothing. A
    cell that only half lies in the image is one, too.

    Args:
        score: one number an image, which depends on that image alone.
        image: as the score takes it.
        size: height and width of the square, in pixels; at least `stride`, or some pixels would
            never be hidden.
        stride: height and width of a cell, in pixels.
        fill: value of the square's pixels; middle gray is 0.5 where the score takes images in
            [0, 1].
        batch_size: images that the score sees at once.

    Raises:
        ValueError: a stride or batch size below one, or a size below the stride.
    """
    if not 1 <= stride <= size or batch_size < 1:
        raise ValueError(
            f"expected a stride of 1 up to the square's size and a batch size of 1 or more, got "
            f"stride {stride}, size {size} and batch size {batch_size}"
        )
    height, width, _ = image.shape
    rows, columns = -(-height // stride), -(-width // stride)

    def hidden(cell: Array, length: int) -> Array:
        # In half pixels, which are whole for every size and stride.
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
    # The last batch is filled up with places outside of the image, whose scores are not used.
    batches = -(-count // batch_size)
    places = jnp.arange(batches * batch_size).reshape(batches, batch_size)
    return lax.map(scores, places).reshape(-1)[:count].reshape(rows, columns)
