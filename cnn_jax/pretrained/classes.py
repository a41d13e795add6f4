"""A classifier for other classes: its body is kept, what depends on their number is new."""

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn
from flax.traverse_util import flatten_dict, unflatten_dict
from jaxtyping import Array, Key


def change_num_classes(
    model: nn.Module,
    variables: Mapping[str, Any],
    num_classes: int,
    key: Key[Array, ""],
    image_shape: tuple[int, int, int],
) -> tuple[nn.Module, dict[str, Any], tuple[str, ...]]:
    """A model and its variables for another number of classes.

    What has another shape with another number of classes (the last linear layer, and those of
    auxiliary classifiers) is drawn as the model itself initializes it; all else stays as it is.

    Args:
        model: a module with the attribute `num_classes`.
        variables: its variables.
        num_classes: the new number.
        key: decides what is drawn.
        image_shape: height, width and channels the model is made for.

    Returns:
        The model with `num_classes`, its variables, and the paths of what was drawn, such as
        "params/head/kernel"; nothing is drawn where the number is the one there is.
    """
    images = jnp.zeros((1, *image_shape))
    changed = model.clone(num_classes=num_classes)
    before = flatten_dict(jax.eval_shape(model.init, key, images), sep="/")
    after = flatten_dict(jax.eval_shape(changed.init, key, images), sep="/")
    paths = tuple(path for path in after if after[path].shape != before[path].shape)

    def draw(key: Key[Array, ""]) -> dict[str, Any]:
        drawn = flatten_dict(changed.init(key, images), sep="/")
        return {path: drawn[path] for path in paths}

    # Compiled, so that the whole model is not initialized for the sake of its last layer.
    fresh = jax.jit(draw)(key) if paths else {}
    kept = flatten_dict(dict(variables), sep="/")
    return changed, unflatten_dict({**kept, **fresh}, sep="/"), paths
