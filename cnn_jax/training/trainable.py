"""Which parameters are trained; the others are held fixed."""

from collections.abc import Callable

from flax.traverse_util import flatten_dict, unflatten_dict
from jaxtyping import PyTree

Trainable = Callable[[str], bool]
"""Whether a parameter is trained, by its path, such as "head/kernel"."""


def split_params(params: PyTree, trainable: Trainable | None) -> tuple[PyTree, PyTree]:
    """The trained and the held parameters; None trains all of them.

    Raises:
        ValueError: no parameter is trained.
    """
    if trainable is None:
        return params, {}
    flat = flatten_dict(params, sep="/")
    trained = {path: leaf for path, leaf in flat.items() if trainable(path)}
    if not trained:
        raise ValueError(
            f"no parameter is trained: trainable is False for all {len(flat)} paths, such as "
            f"{', '.join(list(flat)[-3:])}"
        )
    held = {path: leaf for path, leaf in flat.items() if path not in trained}
    return unflatten_dict(trained, sep="/"), unflatten_dict(held, sep="/")


def join_params(trained: PyTree, held: PyTree) -> PyTree:
    """Undo `split_params`."""
    if not held:
        return trained
    return unflatten_dict(flatten_dict(held, sep="/") | flatten_dict(trained, sep="/"), sep="/")
