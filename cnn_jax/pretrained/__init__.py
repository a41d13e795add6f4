"""Public weights for our models."""

from cnn_jax.pretrained.convert import from_torch, to_torch

__all__ = ["from_torch", "to_torch"]
