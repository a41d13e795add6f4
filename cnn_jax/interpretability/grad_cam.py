"""Grad-CAM: which regions of an image are evidence for a class."""

from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
from jax.extend.core import JaxprEqn
from jaxtyping import Array, Float, Int

from cnn_jax.interpretability.jaxpr import bind, evaluate, trace
from cnn_jax.interpretability.score import Images

Logits = Float[Array, "batch classes"]
Network = Callable[[Images], tuple[Logits, Mapping[str, Array]]]


def grad_cam(
    network: Network, images: Images, labels: Int[Array, " batch"], feature: str
) -> Float[Array, "batch map_height map_width"]:
    """Evidence of a feature map for a class: ReLU(sum over k of a_k A^k).

    The weight a_k of channel k is the derivative of the logit with respect to that channel,
    averaged over the map. The feature map may be anywhere in the network.

    Selvaraju et al. 2017, "Grad-CAM: Visual Explanations from Deep Networks via Gradient-based
    Localization", equations 1 and 2. The paper uses the feature map of the last convolution.

    Args:
        network: returns logits (before any softmax) and feature maps by name. The logits must be
            computed from these maps.
        images: inputs of the network.
        labels: class to explain for each image.
        feature: name of a feature map [batch, map height, map width, channels].

    Returns:
        One map per image, in units of the logit, at least 0.

    Raises:
        ValueError: there is no such feature, or it does not have four dimensions.
    """
    jaxpr, shapes = trace(network, images)
    _, features = shapes
    if feature not in features:
        raise ValueError(f"there is no feature {feature!r}; there are {', '.join(features)}")
    shape, dtype = features[feature].shape, features[feature].dtype
    if len(shape) != 4:
        raise ValueError(
            f"Grad-CAM needs a feature map [batch, height, width, channels], but {feature!r} has "
            f"the shape {shape}"
        )
    structure = jax.tree.structure(shapes)
    target = jax.tree.unflatten(structure, jaxpr.jaxpr.outvars)[1][feature]

    def score(change: Array) -> tuple[Array, Array]:
        def changed(equation: JaxprEqn, inputs: list[Any]) -> list[Any] | None:
            if not any(variable is target for variable in equation.outvars):
                return None
            outputs = zip(equation.outvars, bind(equation, inputs), strict=True)
            return [value + change if variable is target else value for variable, value in outputs]

        logits, features = jax.tree.unflatten(structure, evaluate(jaxpr, [images], changed))
        of_labels = jnp.take_along_axis(logits, labels[:, None], axis=1)
        return jnp.sum(of_labels), features[feature]

    gradient, maps = jax.grad(score, has_aux=True)(jnp.zeros(shape, dtype))
    weights = jnp.mean(gradient, axis=(1, 2))
    evidence = jnp.einsum("bhwk,bk->bhw", maps, weights)
    return jnp.maximum(evidence.astype(jnp.promote_types(evidence.dtype, jnp.float32)), 0)
