"""Specs of examples, for tasks that are initialized without a data set."""

import jax
import numpy as np


def image_spec(shape: tuple[int, ...]) -> dict[str, jax.ShapeDtypeStruct]:
    return {"image": jax.ShapeDtypeStruct(shape, np.float32)}
