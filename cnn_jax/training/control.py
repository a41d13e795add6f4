"""What a run learns from its evaluations: decrease on plateau, early stopping, the best weights.

All read the task's best metric on the validation split, once an evaluation, on the host. The
counters are part of the training state, so that a resumed run decides as the uninterrupted one.
"""

import math
from dataclasses import dataclass
from typing import Literal, no_type_check

import flax.struct
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int

from cnn_jax.errors import check_range


@dataclass(frozen=True)
class ControlConfig:
    """Plateau, early stopping and best weights, all by the task's best validation metric."""

    plateau_patience: int = 0
    """Evaluations without improvement before the learning rate is decreased; 0: never."""
    plateau_factor: float = 0.1
    """The learning rate is multiplied by this on a plateau."""
    stop_patience: int = 0
    """Evaluations without improvement before training stops; 0: never."""
    min_improvement: float = 1e-4
    """Relative change of the metric that counts as an improvement."""
    restore_best: Literal["auto", "yes", "no"] = "auto"
    """Use the weights of the best evaluation, not the last ones, for the results, the figures and
    later members of a study; auto: with early stopping."""

    def __post_init__(self) -> None:
        check_range(self, 0, plateau_patience=self.plateau_patience)
        check_range(self, 0, stop_patience=self.stop_patience)
        check_range(self, 0, min_improvement=self.min_improvement)
        check_range(self, 0, 1, plateau_factor=self.plateau_factor)

    @property
    def restores_best(self) -> bool:
        """Whether the results are those of the best evaluation."""
        return self.restore_best == "yes" or (
            self.restore_best == "auto" and self.stop_patience > 0
        )

    @property
    def reads_validation(self) -> bool:
        """Whether anything here needs a validation split."""
        return self.plateau_patience > 0 or self.stop_patience > 0 or self.restores_best


# JAX also fills a pytree's fields with shapes, shardings and batched values.
@no_type_check
class Control(flax.struct.PyTreeNode):
    """Counters of one run."""

    scale: Float[Array, ""]
    """Factor on the learning rate."""
    best: Float[Array, ""]
    """The metric at the last improvement, negated where higher is better; at first infinite."""
    plateau_waited: Int[Array, ""]
    """Evaluations since the last improvement or decrease of the rate."""
    stop_waited: Int[Array, ""]
    """Evaluations since the last improvement."""
    stopped: Bool[Array, ""]


def init_control() -> Control:
    """The counters before the first evaluation."""
    return Control(
        scale=jnp.ones((), jnp.float32),
        best=jnp.full((), jnp.inf, jnp.float32),
        plateau_waited=jnp.zeros((), jnp.int32),
        stop_waited=jnp.zeros((), jnp.int32),
        stopped=jnp.zeros((), bool),
    )


def adapt(
    control: Control, metric: float, config: ControlConfig, *, higher_is_better: bool
) -> Control:
    """The counters after one more evaluation.

    Args:
        control: the counters before it.
        metric: the task's best metric on the validation split; what is not finite is no
            improvement.
        config: patience, and what counts as an improvement.
        higher_is_better: direction of the metric.

    The plateau rule is that of ``optax.contrib.reduce_on_plateau``, applied once an evaluation.
    """
    # Rounded as the best one is kept, or the same metric could seem an improvement on itself.
    cost = float(np.float32(-metric if higher_is_better else metric))
    best = float(control.best)
    margin = config.min_improvement * abs(best) if math.isfinite(best) else 0.0
    improved = math.isfinite(cost) and cost < best - margin
    plateau_waited = 0 if improved else int(control.plateau_waited) + 1
    stop_waited = 0 if improved else int(control.stop_waited) + 1
    scale = float(control.scale)
    if 0 < config.plateau_patience <= plateau_waited:
        scale, plateau_waited = scale * config.plateau_factor, 0
    return Control(
        scale=jnp.float32(scale),
        best=jnp.float32(cost if improved else best),
        plateau_waited=jnp.int32(plateau_waited),
        stop_waited=jnp.int32(stop_waited),
        stopped=jnp.bool_(0 < config.stop_patience <= stop_waited),
    )
