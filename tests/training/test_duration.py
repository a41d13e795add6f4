"""Durations in steps, epochs and examples."""

import pytest

from cnn_jax.errors import ConfigError
from cnn_jax.training import to_steps


@pytest.mark.parametrize(
    ("duration", "steps"),
    [
        ("10 epochs", 3510),
        ("10epochs", 3510),
        ("1 epoch", 351),
        ("0.5 epochs", 176),
        ("64000 steps", 64000),
        ("1 step", 1),
        (" 2e3steps ", 2000),
        ("0 steps", 0),
        ("1280 examples", 10),
        ("3.2e6 examples", 25000),
        ("100 examples", 1),
        ("0.001 epochs", 1),
    ],
)
def test_steps_of_a_duration(duration: str, steps: int) -> None:
    assert to_steps(duration, batch_size=128, steps_per_epoch=351) == steps


@pytest.mark.parametrize(
    "duration", ["10", "ten epochs", "-1 steps", "5 minutes", "", "1.2.3 steps"]
)
def test_what_is_no_duration(duration: str) -> None:
    with pytest.raises(ConfigError) as caught:
        to_steps(duration, batch_size=128, steps_per_epoch=351)
    assert str(caught.value) == (
        f"{duration!r} is not a duration; expected a number and one of steps, epochs, examples, "
        "such as 10epochs or '64000 steps'"
    )


@pytest.mark.parametrize("duration", ["3e9 steps", "1e8 epochs", "1e400 steps"])
def test_what_is_too_long(duration: str) -> None:
    with pytest.raises(ConfigError, match="is longer than 2,147,483,647 steps"):
        to_steps(duration, batch_size=128, steps_per_epoch=351)
