"""A classifier for other classes: its body is kept, its last layer is initialized anew."""

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

    Variables whose shape depends on the number of classes (the last linear layer, also of auxiliary
    classifiers) are initialized as in the model. All others are kept.

    Args:
        model: a module with the attribute `num_classes`.
        variables: its variables.
        num_classes: the new number; 0 leaves the last layer out.
        key: random key of the initialization.
        image_shape: height, width and channels of the images that the model is made for.

    Returns:
        The model with `num_classes`, its variables, and the paths of the initialized variables,
        such as "params/head/kernel"; there are none if the number does not change.
    """
    images = jnp.zeros((1, *image_shape))
    changed = model.clone(num_classes=num_classes)
    before = flatten_dict(jax.eval_shape(model.init, key, images), sep="/")
    after = flatten_dict(jax.eval_shape(changed.init, key, images), sep="/")
    paths = tuple(path for path in after if after[path].shape != before[path].shape)

    def draw(key: Key[Array, ""]) -> dict[str, Any]:
        drawn = flatten_dict(changed.init(key, images), sep="/")
        return {path: drawn[path] for path in paths}

    # Compiled, so that only the returned variables are computed, not the whole model.
    fresh = jax.jit(draw)(key) if paths else {}
    flat = flatten_dict(dict(variables), sep="/")
    kept = {path: value for path, value in flat.items() if path in after}
    return changed, unflatten_dict({**kept, **fresh}, sep="/"), paths
