"""The weights of classes, as flags give them."""

from collections.abc import Sequence

from cnn_jax.data import Dataset
from cnn_jax.errors import ConfigError


def class_weights(given: Sequence[str], dataset: Dataset, *, or_rule: str) -> tuple[float, ...]:
    """The numbers of `--loss.class-weights`; none are none.

    Args:
        given: the flag's words.
        dataset: has the classes.
        or_rule: the word that the flag also takes, for the message.

    Raises:
        ConfigError: not one number for each class.
    """
    classes = dataset.num_classes
    try:
        weights = tuple(map(float, given))
    except ValueError:
        weights = ()
    if len(weights) != len(given) or len(given) not in (0, classes):
        raise ConfigError(
            f"--loss.class-weights must be {or_rule}, or {classes} numbers, one for each class of "
            f"{dataset.title}; got {' '.join(given)}"
        )
    return weights
