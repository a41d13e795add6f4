"""TensorBoard events, an optional extra."""

from collections.abc import Callable
from pathlib import Path

from cnn_jax.extras import extra


def tensorboard_writer(directory: Path) -> Callable[[int, dict[str, float]], None]:
    """A writer of TensorBoard event files, without TensorFlow.

    Raises:
        MissingExtra: the extra is not installed.
    """
    with extra("tensorboard", "--tensorboard"):
        from tensorboardX import SummaryWriter
    writer = SummaryWriter(str(directory))

    def write(step: int, values: dict[str, float]) -> None:
        for name, value in values.items():
            writer.add_scalar(name, value, step)
        writer.flush()

    return write
