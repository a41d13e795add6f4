"""What a model is trained for: losses, output layers, targets, metrics."""

from cnn_jax.tasks.adversarial import Adversarial
from cnn_jax.tasks.adversarial_losses import (
    discriminator_loss,
    generator_loss,
    gradient_penalty,
    real_gradient_penalty,
)
from cnn_jax.tasks.caption_metrics import bleu
from cnn_jax.tasks.captioning import Captioning
from cnn_jax.tasks.classification import Classification, TextClassification
from cnn_jax.tasks.detection import Detection
from cnn_jax.tasks.detection_metrics import Detections, Truths, coco_scores, voc_scores
from cnn_jax.tasks.labels import (
    balanced_class_weights,
    label_weights,
    median_frequency_weights,
)
from cnn_jax.tasks.language_modelling import LanguageModelling
from cnn_jax.tasks.localization import Localization
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
from cnn_jax.tasks.multibox_detection import MultiBoxDetection
from cnn_jax.tasks.output_layers import decision, identity, sigmoid, softmax
from cnn_jax.tasks.overlaps import box_overlaps, mask_overlaps
from cnn_jax.tasks.pasting import paste_masks
from cnn_jax.tasks.reconstruction import Reconstruction
from cnn_jax.tasks.region_detection import RegionDetection
from cnn_jax.tasks.regions import border_weights, dice_loss
from cnn_jax.tasks.regression import Regression
from cnn_jax.tasks.sample_scores import (
    frechet_distance,
    inception_score,
    matrix_square_root,
    precision_recall,
)
from cnn_jax.tasks.segmentation import Segmentation
from cnn_jax.tasks.segmentation_metrics import (
    class_overlaps,
    image_scores,
    pixel_counts,
    segmentation_scores,
)
from cnn_jax.tasks.style import AnyStyle, FastStyle
from cnn_jax.tasks.word2vec import Word2Vec

__all__ = [
    "Adversarial",
    "AnyStyle",
    "Captioning",
    "Classification",
    "Detection",
    "Detections",
    "FastStyle",
    "LanguageModelling",
    "Localization",
    "MultiBoxDetection",
    "Reconstruction",
    "RegionDetection",
    "Regression",
    "Segmentation",
    "TextClassification",
    "Truths",
    "Word2Vec",
    "absolute_error",
    "accuracy",
    "balanced_class_weights",
    "binary_cross_entropy",
    "bleu",
    "border_weights",
    "box_overlaps",
    "calibration_error",
    "calibration_sums",
    "class_overlaps",
    "class_scores",
    "coco_scores",
    "confusion_counts",
    "decision",
    "dice_loss",
    "discriminator_loss",
    "frechet_distance",
    "generator_loss",
    "gradient_penalty",
    "hinge_loss",
    "huber_loss",
    "identity",
    "image_scores",
    "inception_score",
    "label_weights",
    "logistic_loss",
    "mask_overlaps",
    "matrix_square_root",
    "median_frequency_weights",
    "multiclass_hinge_loss",
    "one_hot_squared_error",
    "one_versus_rest_logistic_loss",
    "paste_masks",
    "pixel_counts",
    "precision_recall",
    "real_gradient_penalty",
    "rmse",
    "segmentation_scores",
    "sigmoid",
    "sigmoid_focal_loss",
    "softmax",
    "softmax_cross_entropy",
    "softmax_focal_loss",
    "squared_error",
    "top_k_accuracy",
    "voc_scores",
]
