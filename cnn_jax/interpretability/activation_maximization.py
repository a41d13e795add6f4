"""Activation maximization: images of high score, by gradient ascent on the pixels."""

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float, Key

from cnn_jax.interpretability.score import Images, Score


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
    """Images in [0, 1] of high score, from given starts.

    Each step adds `learning_rate` times the gradient of the score, scaled to a largest entry of 1,
    and subtracts the gradient of two penalties: half the squared differences of neighbouring
    pixels, and half the squared distance from the start. The first penalty removes high
    frequencies, like a small blur. The images are then clipped to [0, 1]. The learning rate falls
    linearly to zero.

    The loop is one compiled program. Under `jax.jit`, pass the parameters of the score as
    arguments of the compiled function.

    Erhan et al. 2009, "Visualizing Higher-Layer Features of a Deep Network"; total variation with
    exponent 2: Mahendran and Vedaldi 2015; jitter: Mordvintsev et al. 2015 and Olah et al. 2017,
    "Feature Visualization".

    Args:
        score: function of images in [0, 1]. It includes any normalization of the network's inputs.
        start: images in [0, 1], such as gray with a little noise.
        key: random key of the jitter.
        steps: number of steps.
        learning_rate: largest change of a pixel by the score in the first step.
        jitter: the images are rolled by up to this many pixels along both axes before each step,
            and back after it, so that the result does not depend on exact positions.
        total_variation: weight of the differences of neighbouring pixels.
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
