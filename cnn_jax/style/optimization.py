"""An image that minimizes an objective, by gradient descent on its pixels."""

from collections.abc import Callable, Iterator
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax import lax
from jaxtyping import Array, Float, PyTree

from cnn_jax.errors import ConfigError
from cnn_jax.style.losses import Images

Objective = Callable[[PyTree, Images], dict[str, Float[Array, ""]]]
"""The terms of a loss, by name, of arguments (parameters, targets) and images. Their sum counts."""
Optimizer = Literal["lbfgs", "adam"]

HISTORY = 20
"""Pairs of changes that L-BFGS keeps."""


class Progress(NamedTuple):
    """An image on its way."""

    iteration: int
    image: Images
    terms: dict[str, float]
    """The terms of the objective, and `loss`, their sum."""


def make_optimization(
    objective: Objective, *, optimizer: Optimizer = "lbfgs", learning_rate: float = 0.02
) -> tuple[Callable[[Images], PyTree], Callable[..., Any]]:
    """The functions of which `optimize_image` is made.

    Args:
        objective: see `Objective`.
        optimizer: see `optimize_image`.
        learning_rate: Adam's.

    Returns:
        ``init(images)`` gives the optimizer's state; ``advance(images, state, arguments, count)``
        makes iterations and gives images, state, and the terms of the objective with their sum as
        ``loss``. It is one compiled program for any count.
    """

    def terms_of(images: Images, arguments: PyTree) -> dict[str, Array]:
        terms = objective(arguments, images)
        return {**terms, "loss": sum(terms.values(), jnp.zeros(()))}

    def loss_of(images: Images, arguments: PyTree) -> Array:
        return terms_of(images, arguments)["loss"]

    rule: Any = optax.with_extra_args_support(
        optax.lbfgs(memory_size=HISTORY) if optimizer == "lbfgs" else optax.adam(learning_rate)
    )
    known = optax.value_and_grad_from_state(loss_of)

    @jax.jit
    def advance(images: Images, state: PyTree, arguments: PyTree, count: Any) -> Any:
        def step(_: Any, carry: Any) -> Any:
            images, state = carry
            if optimizer == "lbfgs":
                # The line search has evaluated the point that it chose.
                value, gradient = known(images, arguments, state=state)
            else:
                value, gradient = jax.value_and_grad(loss_of)(images, arguments)
            updates, state = rule.update(
                gradient,
                state,
                images,
                value=value,
                grad=gradient,
                value_fn=lambda images: loss_of(images, arguments),
            )
            return optax.apply_updates(images, updates), state

        images, state = lax.fori_loop(0, count, step, (images, state))
        return images, state, terms_of(images, arguments)

    return rule.init, advance


def optimize_image(
    objective: Objective,
    arguments: PyTree,
    start: Images,
    *,
    iterations: int,
    every: int,
    optimizer: Optimizer = "lbfgs",
    learning_rate: float = 0.02,
) -> Iterator[Progress]:
    """Minimize an objective of images, from a given start.

    The iterations between two results are one compiled program, the same one each time. Pixels are
    not held in [0, 1]: clip the result.

    Args:
        objective: see `Objective`.
        arguments: its first argument, so that arrays are not compiled into the program.
        start: the first images.
        iterations: their number, at least 0.
        every: iterations from one result to the next, at least 1.
        optimizer: "lbfgs" is L-BFGS with a line search (optax.lbfgs), which needs no learning rate;
            "adam" is Adam.
        learning_rate: Adam's.

    Yields:
        The start as iteration 0, then the images after every `every` iterations, and the last ones.

    Raises:
        ConfigError: the loss of a result is not finite.
    """
    init, advance = make_optimization(objective, optimizer=optimizer, learning_rate=learning_rate)
    images, state, done = start, init(start), 0
    for until in (*range(0, iterations, every), iterations):
        images, state, terms = advance(images, state, arguments, until - done)
        done, values = until, {name: float(value) for name, value in terms.items()}
        if not np.isfinite(values["loss"]):
            raise ConfigError(
                f"the loss is not finite after {done} iterations: "
                + ", ".join(f"{name} {value:g}" for name, value in values.items())
                + "; use smaller weights or a lower learning rate"
            )
        yield Progress(done, images, values)
