"""When the things of a run happen: its length, and the distances of rows, evaluations and saves."""

from dataclasses import dataclass

from cnn_jax.training.duration import to_steps

ROWS = 50
"""Training rows that a run has at least where their distance is chosen automatically."""


def round_distance(total: int) -> int:
    """The largest of 1, 2, 5, 10, 20, 50, … steps that divides a run into at least `ROWS` rows.

    A shorter run has a row for each of its steps, a longer one at most 125 rows.

    Args:
        total: length of the run in steps.
    """
    wanted = max(1, total // ROWS)
    decade = 10 ** (len(str(wanted)) - 1)
    return max(n * decade for n in (1, 2, 5) if n * decade <= wanted)


@dataclass(frozen=True)
class Plan:
    """When things happen, in steps."""

    total: int
    log_every: int
    evaluate_every: int
    save_every: int
    batch_size: int = 1
    steps_per_epoch: int = 1

    def steps(self, duration: str) -> int:
        """Number of steps in a duration such as "10 epochs"."""
        return to_steps(duration, batch_size=self.batch_size, steps_per_epoch=self.steps_per_epoch)

    def logs(self, step: int) -> bool:
        """Whether a training row is written after this step."""
        return step % self.log_every == 0 or step == self.total

    def evaluates(self, step: int) -> bool:
        """Whether the validation split is evaluated after this step."""
        return step % self.evaluate_every == 0 or step == self.total

    def saves(self, step: int) -> bool:
        """Whether a checkpoint is saved after this step."""
        return step % self.save_every == 0 or step == self.total

    def next_event(self, step: int) -> int:
        """The next step after which something happens."""
        every = (self.log_every, self.evaluate_every, self.save_every)
        return min(self.total, *((step // n + 1) * n for n in every))
