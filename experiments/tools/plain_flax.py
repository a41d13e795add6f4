"""The opponent of `experiments.bench train_step`: a CIFAR ResNet as one writes it in plain Flax.

`nn.Conv`, `nn.BatchNorm`, `optax.sgd` and a jitted step in a Python loop. Its modules carry our
names, so that it starts from our parameters and its losses can be compared.
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import optax
from flax import linen as nn
from jax import Array

Batch = dict[str, Any]
Step = Callable[[Any, Batch, Array], tuple[Any, Array]]


class Block(nn.Module):
    """Two 3x3 convolutions and option B's shortcut."""

    width: int
    stride: int

    @nn.compact
    def __call__(self, x: Array) -> Array:
        y = _conv(self.width, 3, self.stride, "conv1")(x)
        y = nn.relu(_norm("norm1")(y))
        y = _norm("norm2")(_conv(self.width, 3, 1, "conv2")(y))
        if x.shape != y.shape:
            x = _norm("shortcut_norm")(_conv(self.width, 1, self.stride, "shortcut_conv")(x))
        return nn.relu(x + y)


class Body(nn.Module):
    """Three stages of n blocks."""

    n: int

    @nn.compact
    def __call__(self, x: Array) -> Array:
        x = nn.relu(_norm("stem_norm")(_conv(16, 3, 1, "stem_conv")(x)))
        for stage, width in enumerate((16, 32, 64), start=1):
            for number in range(1, self.n + 1):
                stride = 2 if stage > 1 and number == 1 else 1
                x = Block(width, stride, name=f"stage{stage}_block{number}")(x)
        return x


class PlainResNet(nn.Module):
    """ResNet of 6n + 2 layers, in training mode."""

    depth: int
    num_classes: int

    @nn.compact
    def __call__(self, x: Array) -> Array:
        x = Body((self.depth - 2) // 6, name="body")(x)
        return nn.Dense(self.num_classes, name="head")(jnp.mean(x, axis=(1, 2)))


def _conv(width: int, size: int, stride: int, name: str) -> nn.Conv:
    return nn.Conv(width, (size, size), stride, padding=size // 2, use_bias=False, name=name)


def _norm(name: str) -> nn.BatchNorm:
    return nn.BatchNorm(use_running_average=False, momentum=0.9, epsilon=1e-5, name=name)


def make_step(
    model: PlainResNet,
    optimizer: optax.GradientTransformation,
    *,
    prepare: Callable[[Batch, Array, bool], Batch],
    l2: float,
) -> Step:
    """``step((params, batch_stats, opt_state), batch, key)`` gives the new ones and the loss."""

    def loss_fn(params: Any, batch_stats: Any, batch: Batch) -> tuple[Array, Any]:
        logits, updated = model.apply(
            {"params": params, "batch_stats": batch_stats}, batch["image"], mutable=["batch_stats"]
        )
        losses = optax.softmax_cross_entropy_with_integer_labels(logits, batch["label"])
        return losses.mean(), updated["batch_stats"]

    def objective(params: Any, batch_stats: Any, batch: Batch) -> tuple[Array, Any]:
        loss, batch_stats = loss_fn(params, batch_stats, batch)
        squares = sum(jnp.sum(jnp.square(p)) for p in jax.tree.leaves(params))
        return loss + 0.5 * l2 * squares, (loss, batch_stats)

    def step(carry: Any, batch: Batch, key: Array) -> tuple[Any, Array]:
        params, batch_stats, opt_state = carry
        grads, (loss, batch_stats) = jax.grad(objective, has_aux=True)(
            params, batch_stats, prepare(batch, key, True)
        )
        updates, opt_state = optimizer.update(grads, opt_state, params)
        return (optax.apply_updates(params, updates), batch_stats, opt_state), loss

    return step
