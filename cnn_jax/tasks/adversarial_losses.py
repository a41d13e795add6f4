"""Losses of a generative adversarial network: one number for each image, from logits.

A logit above 0 says that an image is real. Where a loss is a likelihood, the probability is the
logit's sigmoid.
"""

from collections.abc import Callable
from typing import Literal

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float

from cnn_jax.layers import relu, softplus
from cnn_jax.tasks.apply import check_loss

AdversarialLoss = Literal["non_saturating", "minimax", "least_squares", "hinge", "wasserstein"]
Penalty = Literal["none", "gradient", "r1"]

Logits = Float[Array, " batch"]
Losses = Float[Array, " batch"]
Images = Float[Array, "batch height width channels"]
Judge = Callable[[Images], Logits]

TINY = 1e-12
"""Norms of gradients below it have no gradient."""

_DISCRIMINATOR: dict[str, Callable[[Logits, Logits], Losses]] = {
    "minimax": lambda real, fake: softplus(-real) + softplus(fake),
    "non_saturating": lambda real, fake: softplus(-real) + softplus(fake),
    "least_squares": lambda real, fake: (jnp.square(real - 1) + jnp.square(fake)) / 2,
    "hinge": lambda real, fake: relu(1 - real) + relu(1 + fake),
    "wasserstein": lambda real, fake: fake - real,
}
_GENERATOR: dict[str, Callable[[Logits], Losses]] = {
    "minimax": lambda fake: -softplus(fake),
    "non_saturating": lambda fake: softplus(-fake),
    "least_squares": lambda fake: jnp.square(fake - 1) / 2,
    "hinge": lambda fake: -fake,
    "wasserstein": lambda fake: -fake,
}


def discriminator_loss(real: Logits, fake: Logits, loss: AdversarialLoss) -> Losses:
    """What the discriminator minimizes, for each pair of a real and a generated image.

    - "minimax", "non_saturating": -log D(real) - log(1 - D(fake)) (Goodfellow et al. 2014).
    - "least_squares": ((real - 1)² + fake²) / 2 (Mao et al. 2017, equation 9).
    - "hinge": max(0, 1 - real) + max(0, 1 + fake) (Lim and Ye 2017; Miyato et al. 2018).
    - "wasserstein": fake - real (Arjovsky et al. 2017); it needs a penalty.

    Args:
        real: logits of real images.
        fake: logits of generated images.
        loss: one of the above.

    Raises:
        ConfigError: another loss.
    """
    return _find(_DISCRIMINATOR, loss)(real, fake)


def generator_loss(fake: Logits, loss: AdversarialLoss) -> Losses:
    """What the generator minimizes, for each generated image.

    - "minimax": log(1 - D(fake)); its gradient vanishes where the discriminator is sure.
    - "non_saturating": -log D(fake).
    - "least_squares": (fake - 1)² / 2.
    - "hinge", "wasserstein": -fake.

    Args:
        fake: logits of generated images.
        loss: one of the above.

    Raises:
        ConfigError: another loss.
    """
    return _find(_GENERATOR, loss)(fake)


def gradient_penalty(
    judge: Judge, real: Images, fake: Images, share: Float[Array, " batch"]
) -> Losses:
    """(|gradient| - 1)², where the gradient is that of the logit by an image between two others.

    Source: Gulrajani et al. 2017 ("Improved training of Wasserstein GANs"), equation 3, with a
    weight of 10. BatchNorm in the discriminator would make a logit depend on the other images.

    Args:
        judge: the discriminator.
        real, fake: the images.
        share: of the real image in the one between, uniform in [0, 1].
    """
    share = share[:, None, None, None]
    between = share * real + (1 - share) * fake
    gradient = _by_image(judge, between)
    norm = optax.safe_norm(gradient.reshape(len(real), -1), TINY, axis=1)
    return jnp.square(norm - 1)


def real_gradient_penalty(judge: Judge, real: Images) -> Losses:
    """|gradient|² / 2, where the gradient is that of the logit by a real image.

    Source: Mescheder, Geiger, Nowozin 2018 ("Which training methods for GANs do actually
    converge?"), R1, equation 9, with a weight of 10.

    Args:
        judge: the discriminator.
        real: the images.
    """
    return jnp.sum(jnp.square(_by_image(judge, real)), axis=(1, 2, 3)) / 2


def _by_image(judge: Judge, images: Images) -> Images:
    return jax.grad(lambda images: jnp.sum(judge(images)))(images)


def _find(losses: dict[str, Callable[..., Losses]], loss: str) -> Callable[..., Losses]:
    check_loss(loss, losses)
    return losses[loss]
