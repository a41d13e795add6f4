"""Spectral normalization: a kernel divided by its largest singular value.

Source: Miyato, Kataoka, Koyama, Yoshida 2018 ("Spectral normalization for generative adversarial
networks"), algorithm 1. A linear map divided by its spectral norm is 1-Lipschitz; for a convolution
the norm is that of its kernel as a matrix [features, all others].
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from flax import linen as nn
from jax import lax
from jaxtyping import Array, Float, Shaped

from cnn_jax.layers.arguments import as_float, wide

EPS = 1e-12
FIRST_ITERATIONS = 15
"""Of a new kernel, as in PyTorch."""


class SingularVectors(NamedTuple):
    """The state of the power iteration: estimates for the largest singular value.

    Attributes:
        left: of length 1, over the features.
        right: of length 1, over all other axes of the kernel in their order, flattened.
    """

    left: Float[Array, " features"]
    right: Float[Array, " others"]


def iterate_power(
    kernel: Shaped[Array, "*shape"], vectors: SingularVectors, axis: int = -1
) -> SingularVectors:
    """Better singular vectors of a kernel: a step of the power iteration.

    It multiplies by the kernel and by its transpose. No gradient flows to the vectors.

    Args:
        kernel: at least two axes.
        vectors: those so far.
        axis: of the features: -1 for kernels of `Conv` and `Linear`, -2 for `ConvTranspose`.
    """
    matrix = lax.stop_gradient(_matrix(kernel, axis))
    left = _unit(matrix @ vectors.right)
    return SingularVectors(left, _unit(matrix.T @ left))


def spectral_norm(
    kernel: Shaped[Array, "*shape"], vectors: SingularVectors, axis: int = -1
) -> Float[Array, ""]:
    """The largest singular value of a kernel, as its estimated singular vectors see it.

    The vectors are constants in its gradient, which is their outer product.

    Args:
        kernel: at least two axes.
        vectors: from `iterate_power`.
        axis: as there.
    """
    matrix = _matrix(kernel, axis)
    left, right = map(lax.stop_gradient, vectors)
    return left @ (matrix @ right)


class SpectralNorm(nn.Module):
    """A layer whose kernel is divided by its spectral norm, as
    `torch.nn.utils.parametrizations.spectral_norm`.

    The parameters are the layer's own. Each call in training makes one step of the power iteration;
    its vectors `left` and `right` are in the collection `spectral_norm`.

    Attributes:
        layer: a `Conv`, a `Linear`, or another layer with a parameter `kernel`.
        axis: of the kernel's features: -1, or -2 for a `ConvTranspose`.
    """

    layer: nn.Module
    axis: int = -1

    @nn.compact
    def __call__(self, x: Array, *, train: bool) -> Array:
        def normalized(variables: Any) -> Any:
            params = dict(variables["params"])
            if "kernel" in params:
                params["kernel"] = self._normalized(params["kernel"], train)
            return {"params": params}

        apply = nn.map_variables(
            lambda layer: layer(x),
            "params",
            trans_in_fn=normalized,
            init=self.is_initializing(),
            mutable=True,
        )
        return apply(self.layer)

    def _normalized(self, kernel: Array, train: bool) -> Array:
        features = kernel.shape[self.axis]
        sizes = {"left": features, "right": kernel.size // features}

        def first(name: str) -> Array:
            return _unit(jax.random.normal(self.make_rng("params"), (sizes[name],)))

        state = {name: self.variable("spectral_norm", name, first, name) for name in sizes}
        vectors = SingularVectors(**{name: vector.value for name, vector in state.items()})
        if train or self.is_initializing():
            steps = FIRST_ITERATIONS if self.is_initializing() else 1

            def step(_: Any, vectors: SingularVectors) -> SingularVectors:
                return iterate_power(kernel, vectors, self.axis)

            vectors = lax.fori_loop(0, steps, step, vectors) if steps > 1 else step(0, vectors)
            for name, vector in state.items():
                vector.value = getattr(vectors, name).astype(vector.value.dtype)
        norm = spectral_norm(kernel, vectors, self.axis)
        return (kernel.astype(norm.dtype) / norm).astype(kernel.dtype)


def _matrix(kernel: Array, axis: int) -> Array:
    kernel = as_float(kernel)
    kernel = kernel.astype(wide(kernel))
    features = kernel.shape[axis]
    return jnp.moveaxis(kernel, axis, 0).reshape(features, kernel.size // features)


def _unit(vector: Array) -> Array:
    return vector / jnp.maximum(jnp.linalg.norm(vector), EPS)
