"""A trained model as one StableHLO program, which runs with JAX alone."""

from collections.abc import Mapping, Sequence
from importlib.util import find_spec
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn
from jaxtyping import Array, Float

from cnn_jax.errors import UserError
from cnn_jax.layers.cpu import onednn

PLATFORMS = ("cpu", "cuda", "tpu")


def export_stablehlo(
    model: nn.Module,
    variables: Mapping[str, Any],
    image_shape: tuple[int, ...],
    *,
    platforms: Sequence[str] = PLATFORMS,
) -> bytes:
    """The model in evaluation, its variables included, for batches of any size.

    Wherever JAX is installed, `jax.export.deserialize(bytearray(program)).call(images)` takes
    float32 images [batch, *image_shape], normalized as for the model, and gives its logits, also
    without this package. The first call with each batch size compiles it, and XLA takes its time
    over large constants (AlexNet: 20 s on two cores). JAX keeps such a program usable for six
    months at least, and its content is StableHLO, which other tools read (`.mlir_module()`).

    Args:
        model: a module whose `__call__` takes images.
        variables: `params` and statistics; they become constants of the program, which has their
            size.
        image_shape: of one image, such as (224, 224, 3).
        platforms: where it shall run; the machine that exports need not have them.

    Raises:
        UserError: flatbuffers, which JAX writes programs with, is not installed.
    """
    # jax.export would say so only after it has traced the model.
    if find_spec("flatbuffers") is None:
        raise UserError("export needs flatbuffers: pip install flatbuffers")
    constants = jax.tree.map(jnp.asarray, variables)

    def logits(images: Float[Array, "batch *image"]) -> Any:
        return model.apply(constants, images)

    (batch,) = jax.export.symbolic_shape("batch")
    images = jax.ShapeDtypeStruct((batch, *image_shape), np.float32)
    with onednn.disabled():
        exported = jax.export.export(jax.jit(logits), platforms=platforms)(images)
    return bytes(exported.serialize())
