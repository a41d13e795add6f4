"""Muon as in airbench: orthogonalized momentum for convolution kernels of fixed norm.

A kernel is treated as a matrix whose columns are its filters. The singular values of the momentum
G = U S V' differ by orders of magnitude, so a plain step moves along few directions. The
orthogonalized step U V' moves along all of them equally. A few matrix products approximate it.

Source: Jordan et al. 2024, "Muon: An optimizer for hidden layers in neural networks"
(kellerjordan.github.io/posts/muon), and github.com/KellerJordan/cifar10-airbench,
`airbench94_muon.py`, which also fixes the norm of each kernel. `optax.contrib.muon` does not fix
norms, does not multiply in bfloat16, and averages gradients as Adam does.
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import optax
from flax.typing import Dtype
from jaxtyping import Array, Float, PyTree

COEFFICIENTS = (3.4445, -4.7750, 2.0315)
"""Coefficients of a s + b s³ + c s⁵. The slope at 0 is steep so that small singular values grow
fast; they need not reach 1 exactly."""


def orthogonalize(
    matrix: Float[Array, "rows columns"], *, steps: int, dtype: Dtype | None = None
) -> Float[Array, "rows columns"]:
    """Approximate U V' of a matrix U S V' by Newton-Schulz iterations.

    After three or more steps, singular values above 1/50 of the matrix's norm lie between 0.68 and
    1.21. Smaller ones grow by a factor of 3.4 per step. A zero matrix stays zero.

    Args:
        matrix: any shape.
        steps: number of iterations, each of three matrix products.
        dtype: dtype of the products and of the result; None means the dtype of the matrix.
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


def airbench_muon(
    learning_rate: float | Callable[[Any], Any],
    *,
    momentum: float = 0.6,
    steps: int = 3,
    dtype: Dtype | None = None,
) -> optax.GradientTransformation:
    """Orthogonalized Nesterov momentum for kernels [..., filters] of fixed norm.

    Each kernel is scaled to the norm sqrt(filters) before its update, so the learning rate is
    relative to a constant size. There is no weight decay.

    Args:
        learning_rate: a number or a schedule.
        momentum: decay factor of the momentum.
        steps: iterations of `orthogonalize`.
        dtype: dtype of its matrix products; None means the dtype of the parameters.
    """

    def orthogonal(updates: PyTree, params: PyTree) -> PyTree:
        def one(update: Array) -> Array:
            matrix = orthogonalize(update.reshape(-1, update.shape[-1]), steps=steps, dtype=dtype)
            return matrix.reshape(update.shape).astype(update.dtype)

        return jax.tree.map(one, updates)

    def fix_norm(updates: PyTree, params: PyTree) -> PyTree:
        def one(update: Array, kernel: Array) -> Array:
            scale = jnp.sqrt(kernel.shape[-1]) / jnp.linalg.norm(kernel.ravel())
            return update + (scale - 1) * kernel

        return jax.tree.map(one, updates, params)

    return optax.chain(
        optax.trace(momentum, nesterov=True),
        optax.stateless(orthogonal),
        optax.scale_by_learning_rate(learning_rate),
        optax.stateless(fix_norm),
    )
