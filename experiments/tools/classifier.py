"""The flags of a classifier's loss."""

from dataclasses import dataclass
from typing import Any, Literal

from cnn_jax.data import Dataset, labels_of
from cnn_jax.errors import LARGEST, check_range
from cnn_jax.tasks import Classification, balanced_class_weights
from experiments.tools.class_weights import class_weights


@dataclass(frozen=True)
class LossConfig:
    """The loss of a classifier."""

    name: Literal["softmax", "focal", "hinge", "logistic", "squared"] = "softmax"
    """softmax: cross entropy; focal: less weight on what is already classified well (Lin et al.
    2017); hinge: of Crammer and Singer; logistic: each class against the rest; squared: from the
    one-hot label."""
    label_smoothing: float = 0.0
    """Probability moved from the label to all classes, with softmax."""
    class_weights: tuple[str, ...] = ()
    """Weight of each class, in the order of the classes, with softmax or focal; balanced: all
    classes count alike, however many training examples they have."""
    focal_gamma: float = 2.0
    """Exponent of the focal loss; 0 is the cross entropy."""
    ignore_index: int | None = None
    """A label that counts neither in the loss nor in the accuracy."""

    def __post_init__(self) -> None:
        check_range(self, 0, 1, label_smoothing=self.label_smoothing)
        check_range(self, 0, focal_gamma=self.focal_gamma)
        # Such as 255, or the -100 of PyTorch.
        check_range(self, -LARGEST, ignore_index=self.ignore_index)


def classification(model: Any, loss: LossConfig, dataset: Dataset, **fields: Any) -> Classification:
    """The task of a classifier.

    Args:
        model: gives one output for each class.
        loss: its loss.
        dataset: has the training labels for balanced weights.
        fields: other fields of the task.

    Raises:
        ConfigError: weights that are neither "balanced" nor one number for each class; as
            `Classification`.
    """
    return Classification(
        model,
        loss=loss.name,
        label_smoothing=loss.label_smoothing,
        class_weights=_class_weights(loss, dataset),
        focal_gamma=loss.focal_gamma,
        ignore_index=loss.ignore_index,
        **fields,
    )


def _class_weights(loss: LossConfig, dataset: Dataset) -> tuple[float, ...]:
    given, classes = loss.class_weights, dataset.num_classes
    if given == ("balanced",):
        labels = labels_of(dataset.splits["train"])
        return balanced_class_weights(labels, classes, ignore_index=loss.ignore_index)
    return class_weights(given, dataset, or_rule="balanced")
