"""Networks for segmentation in PyTorch, with our names for their layers."""

from collections import OrderedDict

import torch
from torch import Tensor, nn
from torch.nn.functional import conv_transpose2d, max_pool2d, pad, relu

LEVELS = (64, 128, 256, 512, 1024)
STAGES = ((2, 64), (2, 128), (3, 256), (3, 512), (3, 512))


def double_conv(inputs: int, outputs: int) -> nn.Module:
    """Two 3x3 convolutions with BatchNorm and ReLU."""

    def layers(inputs: int) -> nn.Module:
        conv = nn.Conv2d(inputs, outputs, 3, padding=1, bias=False)
        norm = nn.BatchNorm2d(outputs)
        return nn.Sequential(OrderedDict(conv=conv, norm=norm, relu=nn.ReLU(inplace=True)))

    return nn.Sequential(OrderedDict(conv1=layers(inputs), conv2=layers(outputs)))


class UNet(nn.Module):
    """U-Net with zero padding and BatchNorm."""

    def __init__(self, num_classes: int):
        super().__init__()
        self.backbone, self.decoder = nn.Module(), nn.Module()
        inputs = 3
        for level, width in enumerate(LEVELS, start=1):
            self.backbone.add_module(f"level{level}", double_conv(inputs, width))
            if level < len(LEVELS):
                self.decoder.add_module(f"up{level}", nn.ConvTranspose2d(2 * width, width, 2, 2))
                self.decoder.add_module(f"conv{level}", double_conv(2 * width, width))
            inputs = width
        self.head = nn.Conv2d(LEVELS[0], num_classes, 1)

    def forward(self, x: Tensor) -> Tensor:
        height, width = x.shape[2:]
        x = pad(x, (0, -width % 16, 0, -height % 16))
        skips = []
        for level in range(1, len(LEVELS) + 1):
            x = getattr(self.backbone, f"level{level}")(x if level == 1 else max_pool2d(x, 2))
            skips.append(x)
        for level in range(len(LEVELS) - 1, 0, -1):
            x = getattr(self.decoder, f"up{level}")(x)
            x = getattr(self.decoder, f"conv{level}")(torch.cat([skips[level - 1], x], dim=1))
        return self.head(x)[:, :, :height, :width]


class FCN8s(nn.Module):
    """FCN-8s on VGG-16, aligned with the image, without dropout; bilinear upsampling is fixed."""

    def __init__(self, num_classes: int):
        super().__init__()
        body = nn.Module()
        inputs = 3
        for stage, (size, width) in enumerate(STAGES, start=1):
            for number in range(1, size + 1):
                conv = nn.Conv2d(inputs, width, 3, padding=1)
                body.add_module(f"conv{stage}_{number}", conv)
                inputs = width
        self.backbone = nn.ModuleDict({"body": body})
        self.head = nn.Sequential(
            OrderedDict(
                fc6=nn.Conv2d(512, 4096, 7, padding=3),
                relu6=nn.ReLU(inplace=True),
                fc7=nn.Conv2d(4096, 4096, 1),
                relu7=nn.ReLU(inplace=True),
                score=nn.Conv2d(4096, num_classes, 1),
            )
        )
        self.scores_0 = nn.Conv2d(512, num_classes, 1)
        self.scores_1 = nn.Conv2d(256, num_classes, 1)

    def forward(self, x: Tensor) -> Tensor:
        height, width = x.shape[2:]
        x = pad(x, (0, -width % 32, 0, -height % 32))
        maps = []
        for stage, (size, _) in enumerate(STAGES, start=1):
            for number in range(1, size + 1):
                x = relu(getattr(self.backbone["body"], f"conv{stage}_{number}")(x), inplace=True)
            x = max_pool2d(x, 2)
            maps.append(x)
        x = _upsample(self.head(x), 2) + self.scores_0(maps[3])
        x = _upsample(x, 2) + self.scores_1(maps[2])
        return _upsample(x, 8)[:, :, :height, :width]


def _upsample(x: Tensor, factor: int) -> Tensor:
    """Bilinear interpolation by a transposed convolution (Caffe's BilinearFiller)."""
    places = torch.arange(2 * factor, dtype=x.dtype, device=x.device)
    line = 1 - (places - (factor - 0.5)).abs() / factor
    kernel = (line[:, None] * line[None]).expand(x.shape[1], 1, -1, -1)
    return conv_transpose2d(x, kernel, stride=factor, padding=factor // 2, groups=x.shape[1])
