"""What a run learns from its evaluations: decrease on plateau and early stopping.

Both read the validation loss, once an evaluation, on the host. Their counters are part of
the training state, so that a resumed run decides as the uninterrupted one would have.
"""

from dataclasses import dataclass
from typing import no_type_check

import flax.struct
import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Bool, Float, Int


@dataclass(frozen=True)
class ControlConfig:
    """Decrease on plateau and early stopping, both of the validation loss."""

    plateau_patience: int = 0
    """Evaluations without improvement before the learning rate is decreased; 0: never."""
    plateau_factor: float = 0.1
    """The learning rate is multiplied by this on a plateau."""
    stop_patience: int = 0
    """Evaluations without improvement before training stops; 0: never."""
    min_improvement: float = 1e-4
    """Relative decrease of the validation loss that counts as an improvement."""


# JAX also fills a pytree's fields with shapes, shardings and batched values.
@no_type_check
class Control(flax.struct.PyTreeNode):
    """Counters of one run."""

    scale: Float[Array, ""]
    """Factor on the learning rate."""
    plateau_best: Float[Array, ""]
    plateau_waited: Int[Array, ""]
    stop_best: Float[Array, ""]
    stop_waited: Int[Array, ""]
    stopped: Bool[Array, ""]


def init_control() -> Control:
    """The counters before the first evaluation."""
    infinity, zero = jnp.full((), jnp.inf, jnp.float32), jnp.zeros((), jnp.int32)
    return Control(
        scale=jnp.ones((), jnp.float32),
        plateau_best=infinity,
        plateau_waited=zero,
        stop_best=infinity,
        stop_waited=zero,
        stopped=jnp.zeros((), bool),
    )


def adapt(control: Control, validation_loss: float | np.ndarray, config: ControlConfig) -> Control:
    """The counters after one more evaluation.

    Of several runs trained at once, whose counters and losses have a leading axis, each decides
    for itself, and one that has stopped decides no more.

    The plateau rule is ``optax.contrib.reduce_on_plateau``, stepped once an evaluation (it
    counts updates, and would decay to nothing if it saw the same loss at every step).
    """
    if isinstance(validation_loss, np.ndarray):
        runs = [jax.tree.map(lambda leaf, i=i: leaf[i], control) for i in range(len(control.scale))]
        after = [
            run if run.stopped else adapt(run, float(loss), config)
            for run, loss in zip(runs, validation_loss, strict=True)
        ]
        return jax.tree.map(lambda *leaves: jnp.stack(leaves), *after)
    scale, plateau_best = control.scale, control.plateau_best
    plateau_waited = control.plateau_waited
    if config.plateau_patience:
        rule = optax.contrib.reduce_on_plateau(
            factor=config.plateau_factor,
            patience=config.plateau_patience,
            rtol=config.min_improvement,
        )
        before = rule.init(())._replace(
            scale=scale, best_value=plateau_best, plateau_count=plateau_waited
        )
        _, after = rule.update((), before, value=validation_loss)
        scale, plateau_best = after.scale, after.best_value
        plateau_waited = after.plateau_count
    improved = validation_loss < float(control.stop_best) * (1 - config.min_improvement)
    stop_waited = 0 if improved else int(control.stop_waited) + 1
    stopped = bool(config.stop_patience) and stop_waited >= config.stop_patience
    return Control(
        scale=jnp.float32(scale),
        plateau_best=jnp.float32(plateau_best),
        plateau_waited=jnp.int32(plateau_waited),
        stop_best=jnp.float32(min(validation_loss, float(control.stop_best))),
        stop_waited=jnp.int32(stop_waited),
        stopped=jnp.bool_(stopped),
    )
