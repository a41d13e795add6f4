"""A network's outputs for a user's image files, batch by batch."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np

from cnn_jax.pretrained import Network
from experiments.tools.image_files import BadImage, check_any, read_images


def outputs_of_files(
    compute: Callable[[Any, Any], Any], network: Network, paths: Sequence[Path], *, batch_size: int
) -> tuple[list[Path], Any, list[BadImage]]:
    """What a function of the network gives for each readable file.

    Args:
        compute: function of variables and inputs [batch, height, width, channels]; it is compiled.
            Its outputs are one array or several, each with one row an image.
        network: whose variables and preprocessing are used.
        paths: files from `find_images`. One batch of images is in memory at a time.
        batch_size: images per batch. The last batch is padded to avoid a second compilation.

    Returns:
        The readable files, their outputs in the same order, and the unreadable files.

    Raises:
        UserError: no file can be read.
    """
    batch_size = min(batch_size, len(paths))
    compiled = jax.jit(compute)
    # Transferred once, not with every batch.
    variables: Any = jax.device_put(network.variables)
    read: list[Path] = []
    rows: list[Any] = []
    bad: list[BadImage] = []
    for start in range(0, len(paths), batch_size):
        good, unreadable = read_images(paths[start : start + batch_size])
        bad.extend(unreadable)
        if not good:
            continue
        inputs = np.stack([network.preprocessing(image) for _, image in good])
        inputs = np.pad(inputs, ((0, batch_size - len(inputs)), (0, 0), (0, 0), (0, 0)))
        rows.append(_first(len(good), compiled(variables, inputs)))
        read.extend(path for path, _ in good)
    check_any(len(read), bad)
    return read, jax.tree.map(lambda *leaves: np.concatenate(leaves), *rows), bad


def _first(number: int, outputs: Any) -> Any:
    """The first rows of each array, on the host."""
    return jax.tree.map(lambda leaf: np.asarray(leaf)[:number], outputs)
