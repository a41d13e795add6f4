"""What a model is trained for: losses, output layers, targets, metrics."""

from cnn_jax.tasks.classification import Classification
from cnn_jax.tasks.labels import balanced_class_weights, label_weights
from cnn_jax.tasks.losses import (
    absolute_error,
    binary_cross_entropy,
    hinge_loss,
    huber_loss,
    logistic_loss,
    multiclass_hinge_loss,
    one_hot_squared_error,
    one_versus_rest_logistic_loss,
    sigmoid_focal_loss,
    softmax_cross_entropy,
    softmax_focal_loss,
    squared_error,
)
from cnn_jax.tasks.metrics import (
    accuracy,
    calibration_error,
    calibration_sums,
    class_scores,
    confusion_counts,
    rmse,
    top_k_accuracy,
)
from cnn_jax.tasks.output_layers import decision, identity, sigmoid, softmax
from cnn_jax.tasks.reconstruction import Reconstruction
from cnn_jax.tasks.regression import Regression

__all__ = [
    "Classification",
    "Reconstruction",
    "Regression",
    "absolute_error",
    "accuracy",
    "balanced_class_weights",
    "binary_cross_entropy",
    "calibration_error",
    "calibration_sums",
    "class_scores",
    "confusion_counts",
    "decision",
    "hinge_loss",
    "huber_loss",
    "identity",
    "label_weights",
    "logistic_loss",
    "multiclass_hinge_loss",
    "one_hot_squared_error",
    "one_versus_rest_logistic_loss",
    "rmse",
    "sigmoid",
    "sigmoid_focal_loss",
    "softmax",
    "softmax_cross_entropy",
    "softmax_focal_loss",
    "squared_error",
    "top_k_accuracy",
]
