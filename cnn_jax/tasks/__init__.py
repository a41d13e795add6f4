"""What a model is trained for: losses, targets, metrics."""

from cnn_jax.tasks.classification import Classification, softmax_cross_entropy

__all__ = ["Classification", "softmax_cross_entropy"]
