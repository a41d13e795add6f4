"""A generative adversarial network: a generator and a discriminator as one model."""

from typing import Literal

from flax import linen as nn
from jaxtyping import Array, Float

from cnn_jax.errors import ConfigError
from cnn_jax.models import torch_names
from cnn_jax.models.arrays import Images, Labels, Latents

DiscriminatorNorm = Literal["batch", "spectral", "none"]
SMALLEST_MAP = 4
"""Pixels of the shorter side of the smallest map, at least; fewer than twice as many."""


class GAN(nn.Module):
    """Two networks with their variables under `generator` and `discriminator`.

    Attributes:
        generator: latents and labels to images in [-1, 1], such as `DCGANGenerator`; its attribute
            `latent` is the size of the latents, and `num_classes` is 0 if it takes no labels.
        discriminator: images and labels to a logit each, such as `DCGANDiscriminator`.

    Raises:
        ConfigError: one of them is class-conditional and the other is not.
    """

    generator: nn.Module
    discriminator: nn.Module

    def __post_init__(self) -> None:
        classes = [getattr(one, "num_classes", 0) for one in (self.generator, self.discriminator)]
        if len(set(classes)) > 1:
            raise ConfigError(
                "generator and discriminator must be conditional on the same classes, got "
                f"num_classes {classes[0]} and {classes[1]}"
            )
        super().__post_init__()

    def __call__(
        self, latents: Latents, labels: Labels | None = None, *, train: bool = False
    ) -> Float[Array, " batch"]:
        """The logits of generated images."""
        images = self.generate(latents, labels, train=train)
        return self.judge(images, labels, train=train)

    def generate(
        self, latents: Latents, labels: Labels | None = None, *, train: bool = False
    ) -> Images:
        """Images of latents."""
        return self.generator(latents, labels, train=train)

    def judge(
        self, images: Images, labels: Labels | None = None, *, train: bool = False
    ) -> Float[Array, " batch"]:
        """The logits of images: above 0 is taken for real."""
        return self.discriminator(images, labels, train=train)

    @nn.nowrap
    def torch_names(self) -> dict[str, str]:
        """PyTorch's names of both networks, below "generator" and "discriminator"."""
        names: dict[str, str] = {}
        for part in ("generator", "discriminator"):
            names |= torch_names.below(part, part, getattr(self, part).torch_names())
        return names


def halvings(image_shape: tuple[int, int, int]) -> tuple[int, tuple[int, int]]:
    """How often images are halved to maps whose shorter side has 4 to 7 pixels, and their size.

    Raises:
        ConfigError: images are smaller than 8 pixels, or a side cannot be halved that often.
    """
    height, width, _ = image_shape
    count = (min(height, width) // SMALLEST_MAP).bit_length() - 1
    factor = 2 ** max(count, 0)
    if count < 1 or height % factor or width % factor:
        raise ConfigError(
            f"images of {height}x{width} pixels cannot be halved to maps of 4 to 7 pixels: each "
            "side must be such a number times the same power of 2, such as 28, 32 or 64; resize "
            "them (--data.image-size 32)"
        )
    return count, (height // factor, width // factor)
