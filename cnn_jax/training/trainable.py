"""Which parameters train: the others are held as they are."""

from collections.abc import Callable

from flax.traverse_util import flatten_dict, unflatten_dict
from jaxtyping import PyTree

Trainable = Callable[[str], bool]
"""Whether a parameter trains, by its path such as "head/kernel"."""


def split_params(params: PyTree, trainable: Trainable | None) -> tuple[PyTree, PyTree]:
    """The parameters that train, and those that are held; None: all of them train.

    Raises:
        ValueError: none trains.
    """
    if trainable is None:
        return params, {}
    flat = flatten_dict(params, sep="/")
    trained = {path: leaf for path, leaf in flat.items() if trainable(path)}
    if not trained:
        raise ValueError(
            f"no parameter trains: trainable is False for all {len(flat)} paths, such as "
            f"{', '.join(list(flat)[-3:])}"
        )
    held = {path: leaf for path, leaf in flat.items() if path not in trained}
    return unflatten_dict(trained, sep="/"), unflatten_dict(held, sep="/")


def join_params(trained: PyTree, held: PyTree) -> PyTree:
    """The parameters that `split_params` has taken apart."""
    if not held:
        return trained
    return unflatten_dict(flatten_dict(held, sep="/") | flatten_dict(trained, sep="/"), sep="/")
