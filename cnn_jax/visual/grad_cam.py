"""Grad-CAM: where in an image the evidence for a class lies."""

from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
from jax.extend.core import JaxprEqn
from jaxtyping import Array, Float, Int

from cnn_jax.visual.programs import evaluate, replay, trace

Images = Float[Array, "batch height width channels"]
Logits = Float[Array, "batch classes"]
Network = Callable[[Images], tuple[Logits, Mapping[str, Array]]]


def grad_cam(
    network: Network, images: Images, labels: Int[Array, " batch"], feature: str
) -> Float[Array, "batch map_height map_width"]:
    """Where a feature map speaks for a class: ReLU(sum over k of a_k A^k), not negative.

    The weight a_k of channel k is the mean over the map of the derivative of the class's logit by
    that channel. It is the derivative by the map wherever that is in the network: whatever follows
    sees it as a variable.

    Selvaraju et al. 2017, "Grad-CAM: Visual Explanations from Deep Networks via Gradient-based
    Localization", equations 1 and 2. The paper takes the last convolution's map, which knows most
    of classes while it still knows of places.

    Args:
        network: of a batch, its logits (before any softmax) and its maps by name, both computed in
            one pass: the logits from the very maps.
        images: as the network takes them.
        labels: the class that each image is looked at for.
        feature: name of a map [batch, map height, map width, channels].

    Returns:
        A map an image, in the units of the logit; to lay it over the image see `enlarge`.

    Raises:
        ValueError: there is no such feature (those there are are named), or it is no map.
    """
    program, shapes = trace(network, images)
    _, features = shapes
    if feature not in features:
        raise ValueError(f"there is no feature {feature!r}; there are {', '.join(features)}")
    shape, dtype = features[feature].shape, features[feature].dtype
    if len(shape) != 4:
        raise ValueError(
            f"Grad-CAM needs a map [batch, height, width, channels], and the shape of {feature!r} "
            f"is {shape}"
        )
    structure = jax.tree.structure(shapes)
    target = jax.tree.unflatten(structure, program.jaxpr.outvars)[1][feature]

    def score(change: Array) -> tuple[Array, Array]:
        def changed(equation: JaxprEqn, inputs: list[Any]) -> list[Any] | None:
            if not any(variable is target for variable in equation.outvars):
                return None
            outputs = zip(equation.outvars, evaluate(equation, inputs), strict=True)
            return [value + change if variable is target else value for variable, value in outputs]

        outputs = replay(program, [images], changed)
        logits, features = jax.tree.unflatten(structure, outputs)
        of_labels = jnp.take_along_axis(logits, labels[:, None], axis=1)
        return jnp.sum(of_labels), features[feature]

    gradient, maps = jax.grad(score, has_aux=True)(jnp.zeros(shape, dtype))
    weights = jnp.mean(gradient, axis=(1, 2))
    evidence = jnp.einsum("bhwk,bk->bhw", maps, weights)
    return jnp.maximum(evidence.astype(jnp.promote_types(evidence.dtype, jnp.float32)), 0)


def enlarge(
    maps: Float[Array, "batch map_height map_width"], size: tuple[int, int]
) -> Float[Array, "batch height width"]:
    """The maps, enlarged bilinearly to (height, width)."""
    return jax.image.resize(maps, (maps.shape[0], *size), "bilinear", antialias=False)
