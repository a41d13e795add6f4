"""Export a trained model to a StableHLO program that runs with JAX alone."""

from collections.abc import Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn
from jaxtyping import Array, Float

from cnn_jax.extras import extra
from cnn_jax.layers.cpu import onednn

PLATFORMS = ("cpu", "cuda", "tpu")


def export_stablehlo(
    model: nn.Module,
    variables: Mapping[str, Any],
    image_shape: tuple[int, ...],
    *,
    platforms: Sequence[str] = PLATFORMS,
) -> bytes:
    """The model in evaluation mode with its variables, for any batch size.

    `jax.export.deserialize(bytearray(program)).call(images)` computes the logits of float32 images
    [batch, *image_shape], normalized as for the model, without this package. The first call with
    each batch size compiles the program, which is slow for large constants (AlexNet: 20 s on two
    cores). JAX guarantees compatibility for at least six months. Other tools can read the StableHLO
    (`.mlir_module()`).

    Args:
        model: module whose `__call__` takes images.
        variables: `params` and statistics. They become constants of the program and decide its
            size.
        image_shape: shape of one image, such as (224, 224, 3).
        platforms: platforms on which the program can run. The exporting machine need not have
            them.

    Raises:
        MissingExtra: flatbuffers, which JAX uses to write programs, is not installed.
    """
    # jax.export would fail only after tracing the model.
    with extra("export", "export"):
        import flatbuffers  # noqa: F401
    constants = jax.tree.map(jnp.asarray, variables)

    def logits(images: Float[Array, "batch *image"]) -> Any:
        return model.apply(constants, images)

    (batch,) = jax.export.symbolic_shape("batch")
    images = jax.ShapeDtypeStruct((batch, *image_shape), np.float32)
    with onednn.disabled():
        exported = jax.export.export(jax.jit(logits), platforms=platforms)(images)
    return bytes(exported.serialize())
