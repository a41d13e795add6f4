"""TensorBoard events, an optional extra."""

from collections.abc import Callable
from pathlib import Path

from cnn_jax.errors import ConfigError


def tensorboard_writer(directory: Path) -> Callable[[int, dict[str, float]], None]:
    """A writer of TensorBoard event files, without TensorFlow.

    Raises:
        ConfigError: the extra is not installed.
    """
    try:
        from tensorboardX import SummaryWriter
    except ImportError:
        raise ConfigError(
            "--tensorboard needs the extra: pip install 'cnn-jax[tensorboard]'"
        ) from None
    writer = SummaryWriter(str(directory))

    def write(step: int, values: dict[str, float]) -> None:
        for name, value in values.items():
            writer.add_scalar(name, value, step)
        writer.flush()

    return write
