"""Muon, for convolutions: momentum, made orthogonal before it is taken off the filters.

A kernel is a matrix, its filters the columns. The momentum G = U S V' moves along few directions
far and along most hardly at all; U V', which has the same directions and all singular values 1,
moves along all of them alike. A few products of matrices come close enough to it.

Source: Jordan et al. 2024, "Muon: An optimizer for hidden layers in neural networks"
(kellerjordan.github.io/posts/muon), and github.com/KellerJordan/cifar10-airbench,
`airbench94_muon.py`, where each kernel's norm is held, too. `optax.contrib.muon` has neither that
nor products in bfloat16, and weighs gradient and momentum as Adam does.
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import optax
from flax.typing import Dtype
from jaxtyping import Array, Float, PyTree

COEFFICIENTS = (3.4445, -4.7750, 2.0315)
"""Of a s + b s³ + c s⁵, which is steep at 0: small singular values are to grow fast, and need not
arrive at 1 exactly."""


def orthogonalize(
    matrix: Float[Array, "rows columns"], *, steps: int, dtype: Dtype | None = None
) -> Float[Array, "rows columns"]:
    """U S' V' of a matrix U S V', with singular values S' of about 1 (Newton and Schulz).

    Singular values above a fiftieth of the matrix's norm end between 0.68 and 1.21 after three
    steps or more; smaller ones grow by 3.4 a step. Zeros stay zeros.

    Args:
        matrix: of any shape.
        steps: iterations, each of three products of matrices.
        dtype: of the products and the result; None is the matrix's.
    """
    a, b, c = COEFFICIENTS
    tall = matrix.shape[0] > matrix.shape[1]
    # No singular value is larger than the norm.
    x = (matrix / (jnp.linalg.norm(matrix) + 1e-7)).astype(dtype or matrix.dtype)
    x = x.T if tall else x
    for _ in range(steps):
        square = x @ x.T
        x = a * x + (b * square + c * square @ square) @ x
    return x.T if tall else x


def muon(
    learning_rate: float | Callable[[Any], Any],
    *,
    momentum: float = 0.6,
    steps: int = 3,
    dtype: Dtype | None = None,
) -> optax.GradientTransformation:
    """Orthogonalized Nesterov momentum for kernels [..., filters], whose norms are held.

    Before each update a kernel is scaled to the norm sqrt(filters), so that the rate is relative
    to a size that does not change; there is no weight decay.

    Args:
        learning_rate: a number or a schedule.
        momentum: factor of the momentum a step.
        steps: iterations of `orthogonalize`.
        dtype: of its products; None is the parameters'.
    """

    def orthogonal(updates: PyTree, params: PyTree) -> PyTree:
        def one(update: Array) -> Array:
            matrix = orthogonalize(update.reshape(-1, update.shape[-1]), steps=steps, dtype=dtype)
            return matrix.reshape(update.shape).astype(update.dtype)

        return jax.tree.map(one, updates)

    def held_norm(updates: PyTree, params: PyTree) -> PyTree:
        def one(update: Array, kernel: Array) -> Array:
            scale = jnp.sqrt(kernel.shape[-1]) / jnp.linalg.norm(kernel.ravel())
            return update + (scale - 1) * kernel

        return jax.tree.map(one, updates, params)

    return optax.chain(
        optax.trace(momentum, nesterov=True),
        optax.stateless(orthogonal),
        optax.scale_by_learning_rate(learning_rate),
        optax.stateless(held_norm),
    )
