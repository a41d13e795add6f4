"""The named features of a network, its logits and its first kernel."""

from typing import Any

import numpy as np
from flax import linen as nn
from jaxtyping import Array, Float

from cnn_jax.errors import ConfigError
from cnn_jax.models.summary import tabulate

Images = Float[Array, "batch height width channels"]


def logits_and_features(
    model: nn.Module, variables: Any, images: Images
) -> tuple[Float[Array, "batch classes"], dict[str, Array]]:
    """Logits and the features by name from which they are computed, in one pass."""

    def is_body(module: nn.Module, method: str) -> bool:
        return module.path == ("body",) and method == "__call__"

    logits, captured = model.apply(
        variables, images, capture_intermediates=is_body, mutable=["intermediates"]
    )
    (features,) = captured["intermediates"]["body"]["__call__"]
    return logits, dict(features)


def check_feature(name: str, shapes: dict[str, tuple[int, ...]]) -> None:
    """Raise a ConfigError with the known names if there is no feature of this name."""
    if name not in shapes:
        raise ConfigError(f"there is no layer {name!r}; there are {', '.join(shapes)}")


def first_kernel(
    model: nn.Module, variables: Any, image_shape: tuple[int, ...]
) -> Float[np.ndarray, "height width channels features"] | None:
    """The kernel of the first convolution; None if there is no convolution."""
    for layer in tabulate(model, image_shape):
        if layer.kind == "Conv":
            kernel = variables["params"]
            for name in (*layer.path.split("/"), "kernel"):
                kernel = kernel[name]
            return np.asarray(kernel)
    return None
