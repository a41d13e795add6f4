"""A trained model with all that it takes to use it."""

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Network:
    """A trained model: public weights, a checkpoint, or the result of a run.

    `model.apply(variables, preprocessing(image)[None])` gives the output for one image, such as
    the logits of a classifier.

    Attributes:
        model: the linen module; None if `task` has several of them.
        variables: `params`, and collections such as `batch_stats`.
        preprocessing: `Preprocessing`, which makes the model's input of a uint8 RGB image; for a
            model of boxes `OnCanvas` or `BySides`, whose `place` says where the image is in it;
            None if the model takes no images.
        class_names: by label; empty if they are unknown or there are none.
        title: what a figure says of it.
        task: what a run trained the model for; None for public weights and checkpoints.
        reinitialized: paths of the variables that were drawn anew for another number of classes.
    """

    model: Any
    variables: dict[str, Any]
    preprocessing: Any
    class_names: tuple[str, ...]
    title: str
    task: Any = None
    reinitialized: tuple[str, ...] = ()
