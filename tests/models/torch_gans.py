"""PyTorch's example dcgan and SNGAN's blocks, transcribed with a size for tests."""

from itertools import pairwise

from torch import nn
from torch.nn.utils.parametrizations import spectral_norm

from cnn_jax.models.gan import halvings


def dcgan_generator(image_shape, latent, width):
    """`Generator` of the example, for images of other sizes too."""
    count, smallest = halvings(image_shape)
    widths = [width * 2**n for n in reversed(range(count))]
    layers = [nn.ConvTranspose2d(latent, widths[0], smallest, 1, 0, bias=False)]
    for before, after in zip(widths, [*widths[1:], image_shape[-1]], strict=True):
        layers += [nn.BatchNorm2d(before), nn.ReLU(True)]
        layers += [nn.ConvTranspose2d(before, after, 4, 2, 1, bias=False)]
    return named(nn.Sequential(*layers, nn.Tanh()))


def dcgan_discriminator(image_shape, width):
    """`Discriminator` of the example, without its sigmoid."""
    count, smallest = halvings(image_shape)
    widths = [width * 2**n for n in range(count)]
    layers = [nn.Conv2d(image_shape[-1], widths[0], 4, 2, 1, bias=False), nn.LeakyReLU(0.2, True)]
    for before, after in pairwise(widths):
        layers += [nn.Conv2d(before, after, 4, 2, 1, bias=False)]
        layers += [nn.BatchNorm2d(after), nn.LeakyReLU(0.2, True)]
    return named(nn.Sequential(*layers, nn.Conv2d(widths[-1], 1, smallest, 1, 0, bias=False)))


def named(main):
    module = nn.Module()
    module.main = main
    module.forward = main.forward
    return module.double()


class ClassBatchNorm(nn.Module):
    def __init__(self, channels, classes):
        super().__init__()
        self.norm = nn.BatchNorm2d(channels, affine=not classes)
        if classes:
            self.scale, self.bias = nn.Embedding(classes, channels), nn.Embedding(classes, channels)

    def forward(self, x, labels):
        y = self.norm(x)
        if labels is None:
            return y.relu()
        return (y * self.scale(labels)[..., None, None] + self.bias(labels)[..., None, None]).relu()


class UpBlock(nn.Module):
    def __init__(self, channels, classes):
        super().__init__()
        self.norm1, self.norm2 = (ClassBatchNorm(channels, classes) for _ in range(2))
        self.conv1, self.conv2 = (nn.Conv2d(channels, channels, 3, padding=1) for _ in range(2))
        self.shortcut = nn.Conv2d(channels, channels, 1)
        self.up = nn.Upsample(scale_factor=2, mode="nearest")

    def forward(self, x, labels):
        y = self.conv1(self.up(self.norm1(x, labels)))
        return self.conv2(self.norm2(y, labels)) + self.shortcut(self.up(x))


class DownBlock(nn.Module):
    def __init__(self, before, channels, pooled, first):
        super().__init__()
        self.conv1 = spectral_norm(nn.Conv2d(before, channels, 3, padding=1))
        self.conv2 = spectral_norm(nn.Conv2d(channels, channels, 3, padding=1))
        if pooled:
            self.shortcut = spectral_norm(nn.Conv2d(before, channels, 1))
        self.pool = nn.AvgPool2d(2) if pooled else nn.Identity()
        self.pooled, self.first = pooled, first

    def forward(self, x):
        y = self.pool(self.conv2(self.conv1(x if self.first else x.relu()).relu()))
        if not self.pooled:
            return y + x
        return y + (self.shortcut(self.pool(x)) if self.first else self.pool(self.shortcut(x)))


class SNGANGenerator(nn.Module):
    def __init__(self, image_shape, latent, width, classes):
        super().__init__()
        count, self.smallest = halvings(image_shape)
        self.width = width
        self.stem = nn.Linear(latent, self.smallest[0] * self.smallest[1] * width)
        self.blocks = nn.ModuleList([UpBlock(width, classes) for _ in range(count)])
        self.norm = nn.BatchNorm2d(width)
        self.head = nn.Conv2d(width, image_shape[-1], 3, padding=1)

    def forward(self, latents, labels):
        # Our maps have their channels last.
        x = self.stem(latents).reshape(-1, *self.smallest, self.width).permute(0, 3, 1, 2)
        for block in self.blocks:
            x = block(x, labels)
        return self.head(self.norm(x).relu()).tanh()


class SNGANDiscriminator(nn.Module):
    def __init__(self, image_shape, width, classes):
        super().__init__()
        kinds = [(image_shape[-1], True, True), (width, True, False), *[(width, False, False)] * 2]
        self.blocks = nn.ModuleList(
            [DownBlock(before, width, pooled, first) for before, pooled, first in kinds]
        )
        self.head = spectral_norm(nn.Linear(width, 1))
        self.projection = spectral_norm(nn.Embedding(classes, width)) if classes else None

    def forward(self, images, labels):
        x = images
        for block in self.blocks:
            x = block(x)
        pooled = x.relu().sum((2, 3))
        logits = self.head(pooled)[:, 0]
        return logits if labels is None else logits + (self.projection(labels) * pooled).sum(1)
