"""DCGAN and its training as in PyTorch's example dcgan. Nothing here imports JAX."""

from collections.abc import Callable
from typing import Any

import torch
from torch import nn
from torch.nn.functional import softplus

LATENT = 100


class Pair(nn.Module):
    """Both networks, with the example's names of their layers."""

    def __init__(self, generator: nn.Module, discriminator: nn.Module) -> None:
        super().__init__()
        self.generator, self.discriminator = generator, discriminator


class Network(nn.Module):
    """Layers in turn, as `main`."""

    def __init__(self, *layers: nn.Module) -> None:
        super().__init__()
        self.main = nn.Sequential(*layers)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.main(x)


def dcgan(num_classes: int, width: int = 64, channels: int = 3) -> Pair:
    """For images of 64 x 64; the classes are not seen."""
    w = width

    def up(before: int, after: int) -> list[nn.Module]:
        layer = nn.ConvTranspose2d(before, after, 4, 2, 1, bias=False)
        return [layer, nn.BatchNorm2d(after), nn.ReLU(True)]

    def down(before: int, after: int) -> list[nn.Module]:
        layer = nn.Conv2d(before, after, 4, 2, 1, bias=False)
        return [layer, nn.BatchNorm2d(after), nn.LeakyReLU(0.2, inplace=True)]

    generator = Network(
        nn.ConvTranspose2d(LATENT, 8 * w, 4, 1, 0, bias=False),
        nn.BatchNorm2d(8 * w),
        nn.ReLU(True),
        *up(8 * w, 4 * w),
        *up(4 * w, 2 * w),
        *up(2 * w, w),
        nn.ConvTranspose2d(w, channels, 4, 2, 1, bias=False),
        nn.Tanh(),
    )
    discriminator = Network(
        nn.Conv2d(channels, w, 4, 2, 1, bias=False),
        nn.LeakyReLU(0.2, inplace=True),
        *down(w, 2 * w),
        *down(2 * w, 4 * w),
        *down(4 * w, 8 * w),
        nn.Conv2d(8 * w, 1, 4, 1, 0, bias=False),
    )
    return Pair(generator, discriminator)


def compiled(pair: Pair) -> Pair:
    """Both networks by `torch.compile`."""
    pair.generator.compile()
    pair.discriminator.compile()
    return pair


def training_step(
    pair: Pair, learning_rate: float, momentum: float, autocast: Callable[[], Any]
) -> Callable[[torch.Tensor], torch.Tensor]:
    """One update of each network on a batch of images; returns the generator's loss."""
    betas = momentum, 0.999
    of_generator = torch.optim.Adam(pair.generator.parameters(), learning_rate, betas)
    of_discriminator = torch.optim.Adam(pair.discriminator.parameters(), learning_rate, betas)

    def step(images: torch.Tensor) -> torch.Tensor:
        noise = torch.randn(len(images), LATENT, 1, 1, device=images.device)
        of_discriminator.zero_grad(set_to_none=True)
        with autocast():
            real = softplus(-pair.discriminator(images).float()).mean()
        real.backward()
        with autocast():
            generated = pair.generator(noise)
            fake = softplus(pair.discriminator(generated.detach()).float()).mean()
        fake.backward()
        of_discriminator.step()
        of_generator.zero_grad(set_to_none=True)
        with autocast():
            loss = softplus(-pair.discriminator(generated).float()).mean()
        loss.backward()
        of_generator.step()
        return loss.detach()

    return step


def evaluated(pair: Pair, images: torch.Tensor) -> torch.Tensor:
    """The generator's loss, after the logits of real and of generated images."""
    noise = torch.randn(len(images), LATENT, 1, 1, device=images.device)
    real, fake = pair.discriminator(images), pair.discriminator(pair.generator(noise))
    of_discriminator = softplus(-real.float()).mean() + softplus(fake.float()).mean()
    # A number of both, so that neither is left out.
    return softplus(-fake.float()).mean() + 0 * of_discriminator
