"""The image that a unit of a network responds to most, by gradient ascent on the image."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float, Key

Images = Float[Array, "batch height width channels"]
Score = Callable[[Images], Float[Array, " batch"]]


def activation_maximization(
    score: Score,
    start: Images,
    key: Key[Array, ""],
    *,
    steps: int = 256,
    learning_rate: float = 0.05,
    jitter: int = 0,
    total_variation: float = 0.1,
    l2: float = 0.0,
) -> Images:
    """Images in [0, 1] of high score, each climbing from its own start.

    A step is `learning_rate` times the score's gradient, scaled so that its largest entry is 1
    whatever the score's units, less the gradient of two penalties on the pixels: half the squared
    differences of neighbours, and half the squared distance from the start. The first takes away
    the high frequencies that the gradient adds and no eye sees; with exponent 2 it acts as a small
    blur a step. Then the image is clipped to [0, 1]. The rate falls linearly to zero. An image
    whose score has no gradient only loses contrast.

    It is a pure function and its loop is one compiled program; under `jax.jit` the score's
    parameters should be arguments of the function that is compiled.

    Erhan et al. 2009, "Visualizing Higher-Layer Features of a Deep Network"; the total variation of
    Mahendran and Vedaldi 2015 with exponent 2; jitter as of Mordvintsev et al. 2015 and Olah et al.
    2017, "Feature Visualization".

    Args:
        score: of images in [0, 1], one number an image, which depends on that image alone; it
            normalizes the images itself where its network wants it.
        start: images in [0, 1], such as a gray one with a little noise.
        key: decides the jitter.
        steps: of the ascent.
        learning_rate: most that a pixel changes by the score in the first step.
        jitter: before each step the images are rolled by up to this many pixels along both axes,
            and back afterwards, so that what is found does not depend on an exact place.
        total_variation: weight of the differences of neighbours.
        l2: weight of the distance from the start.

    Returns:
        The images after the last step.
    """

    def penalty(images: Images) -> Float[Array, ""]:
        down, right = jnp.diff(images, axis=1), jnp.diff(images, axis=2)
        neighbours = jnp.sum(jnp.square(down)) + jnp.sum(jnp.square(right))
        return total_variation / 2 * neighbours + l2 / 2 * jnp.sum(jnp.square(images - start))

    def step(number: Array, images: Images) -> Images:
        shift = jax.random.randint(jax.random.fold_in(key, number), (2,), -jitter, jitter + 1)

        def total(images: Images) -> Float[Array, ""]:
            return jnp.sum(score(jnp.roll(images, shift, axis=(1, 2))))

        gradient = jax.grad(total)(images)
        largest = jnp.max(jnp.abs(gradient), axis=(1, 2, 3), keepdims=True)
        direction = gradient / jnp.maximum(largest, jnp.finfo(images.dtype).tiny)
        rate = learning_rate * (1 - number / steps)
        ascended = images + rate * (direction - jax.grad(penalty)(images))
        return jnp.clip(ascended, 0, 1).astype(images.dtype)

    return lax.fori_loop(0, steps, step, start)
