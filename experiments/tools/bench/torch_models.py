"""The benchmarks' opponents in PyTorch, with torchvision's names for their parameters.

The ResNets are those of He et al. 2015 (like torchvision's, the one for ImageNet strides in the 3x3
convolution of a bottleneck), and VGG-16 is that of Simonyan and Zisserman 2014. The layers of dense
networks have our names. Initial parameters are loaded, so initialization does not matter.
"""

import math
from collections import OrderedDict
from collections.abc import Callable, Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn.functional import relu

from experiments.tools.bench.torch_adversarial import dcgan
from experiments.tools.bench.torch_detection import mask_rcnn
from experiments.tools.bench.torch_segmentation import FCN8s, UNet


class Block(nn.Module):
    """Convolutions with BatchNorm, and a shortcut by the identity or a 1x1 convolution.

    Args:
        channels: channels of the input, then of the output of each convolution.
        sizes: kernel sizes of the convolutions.
        strides: strides of the convolutions.
    """

    def __init__(self, channels: Sequence[int], sizes: Sequence[int], strides: Sequence[int]):
        super().__init__()
        shapes = zip(pairwise(channels), sizes, strides, strict=True)
        for number, ((inputs, outputs), size, stride) in enumerate(shapes, start=1):
            self.add_module(f"conv{number}", _conv(inputs, outputs, size, stride))
            self.add_module(f"bn{number}", nn.BatchNorm2d(outputs))
        self.depth = len(sizes)
        stride = math.prod(strides)
        self.downsample: nn.Module | None = None
        if stride > 1 or channels[0] != channels[-1]:
            self.downsample = nn.Sequential(
                _conv(channels[0], channels[-1], 1, stride), nn.BatchNorm2d(channels[-1])
            )

    def forward(self, x: Tensor) -> Tensor:
        y = x
        for number in range(1, self.depth + 1):
            y = getattr(self, f"bn{number}")(getattr(self, f"conv{number}")(y))
            if number < self.depth:
                y = relu(y, inplace=True)
        return relu(y + (x if self.downsample is None else self.downsample(x)), inplace=True)


class ResNet(nn.Module):
    """A stem, stages of blocks, global average pooling and a linear layer.

    Args:
        stem: convolution and, where there is one, pooling.
        stages: blocks of each stage.
        channels: channels of the last stage.
        num_classes: number of outputs.
    """

    def __init__(
        self,
        stem: nn.Conv2d,
        pool: nn.Module,
        stages: Sequence[Sequence[Block]],
        channels: int,
        num_classes: int,
    ):
        super().__init__()
        self.conv1, self.bn1, self.pool = stem, nn.BatchNorm2d(stem.out_channels), pool
        for number, blocks in enumerate(stages, start=1):
            self.add_module(f"layer{number}", nn.Sequential(*blocks))
        self.stages = len(stages)
        self.fc = nn.Linear(channels, num_classes)

    def forward(self, x: Tensor) -> Tensor:
        x = self.pool(relu(self.bn1(self.conv1(x)), inplace=True))
        for number in range(1, self.stages + 1):
            x = getattr(self, f"layer{number}")(x)
        return self.fc(x.mean((2, 3)))


def _conv(inputs: int, outputs: int, size: int, stride: int) -> nn.Conv2d:
    return nn.Conv2d(inputs, outputs, size, stride, padding=size // 2, bias=False)


def cifar_resnet20(num_classes: int) -> nn.Module:
    """Three stages of three blocks with two 3x3 convolutions."""
    stages, channels = [], 16
    for width in (16, 32, 64):
        blocks = []
        for _ in range(3):
            stride = width // channels
            blocks.append(Block((channels, width, width), (3, 3), (stride, 1)))
            channels = width
        stages.append(blocks)
    return ResNet(_conv(3, 16, 3, 1), nn.Identity(), stages, channels, num_classes)


def resnet50(num_classes: int) -> nn.Module:
    """Stages of 3, 4, 6 and 3 bottlenecks."""
    stages, channels = [], 64
    for size, width in ((3, 64), (4, 128), (6, 256), (3, 512)):
        blocks = []
        for number in range(size):
            stride = 2 if width > 64 and number == 0 else 1
            blocks.append(Block((channels, width, width, 4 * width), (1, 3, 1), (1, stride, 1)))
            channels = 4 * width
        stages.append(blocks)
    pool = nn.MaxPool2d(3, 2, padding=1)
    return ResNet(_conv(3, 64, 7, 2), pool, stages, channels, num_classes)


class VGG16(nn.Module):
    """Thirteen 3x3 convolutions and three linear layers, without dropout."""

    def __init__(self, num_classes: int):
        super().__init__()
        layers: list[nn.Module] = []
        channels = 3
        for size, width in ((2, 64), (2, 128), (3, 256), (3, 512), (3, 512)):
            for _ in range(size):
                layers += [nn.Conv2d(channels, width, 3, padding=1), nn.ReLU(inplace=True)]
                channels = width
            layers.append(nn.MaxPool2d(2))
        self.features = nn.Sequential(*layers)
        self.avgpool = nn.AdaptiveAvgPool2d(7)
        # Identity in place of dropout keeps torchvision's numbering of the layers.
        self.classifier = nn.Sequential(
            nn.Linear(512 * 7 * 7, 4096),
            nn.ReLU(inplace=True),
            nn.Identity(),
            nn.Linear(4096, 4096),
            nn.ReLU(inplace=True),
            nn.Identity(),
            nn.Linear(4096, num_classes),
        )

    def forward(self, x: Tensor) -> Tensor:
        return self.classifier(torch.flatten(self.avgpool(self.features(x)), 1))


class Airbench94(nn.Module):
    """The network of github.com/KellerJordan/cifar10-airbench, with our names for its layers."""

    def __init__(self, num_classes: int):
        super().__init__()
        layers: OrderedDict[str, nn.Module] = OrderedDict()
        layers["whiten"] = nn.Conv2d(3, 24, 2)
        layers["whiten"].weight.requires_grad = False
        layers["whiten_gelu"] = nn.GELU()
        channels = 24
        for stage, width in enumerate((64, 256, 256), start=1):
            for number in (1, 2):
                layers[f"stage{stage}_conv{number}"] = _conv(channels, width, 3, 1)
                if number == 1:
                    layers[f"stage{stage}_pool"] = nn.MaxPool2d(2)
                norm = nn.BatchNorm2d(width, eps=1e-12, momentum=0.4)
                norm.weight.requires_grad = False
                layers[f"stage{stage}_norm{number}"] = norm
                layers[f"stage{stage}_gelu{number}"] = nn.GELU()
                channels = width
        self.body = nn.Sequential(layers)
        self.head = nn.Linear(channels, num_classes, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.body(x).amax((2, 3))) / self.head.in_features


def mlp(num_classes: int) -> nn.Module:
    """Hidden layers of 256, 128 and 100 neurons."""
    body = _dense(784, {"hidden1": 256, "hidden2": 128, "hidden3": 100})
    body.add_module("last_relu", nn.ReLU(inplace=True))
    head = nn.Linear(100, num_classes)
    return nn.Sequential(OrderedDict(flatten=nn.Flatten(), body=body, head=head))


def autoencoder(num_classes: int) -> nn.Module:
    """That of Hinton and Salakhutdinov: 784-1000-500-250-30 and its mirror image."""
    encoder = _dense(784, {"hidden1": 1000, "hidden2": 500, "hidden3": 250, "code": 30})
    decoder = _dense(30, {"hidden3": 250, "hidden2": 500, "hidden1": 1000, "output": 784})
    image = nn.Unflatten(1, (1, 28, 28))
    return nn.Sequential(
        OrderedDict(flatten=nn.Flatten(), encoder=encoder, decoder=decoder, image=image)
    )


def _dense(inputs: int, widths: dict[str, int]) -> nn.Sequential:
    """Linear layers with ReLUs between them."""
    layers: OrderedDict[str, nn.Module] = OrderedDict()
    for name, width in widths.items():
        if layers:
            layers[f"relu_before_{name}"] = nn.ReLU(inplace=True)
        layers[name] = nn.Linear(inputs, width)
        inputs = width
    return nn.Sequential(layers)


MODELS: dict[str, Callable[[int], nn.Module]] = {
    "cifar_resnet20": cifar_resnet20,
    "cifar_airbench94": Airbench94,
    "resnet50": resnet50,
    "vgg16": VGG16,
    "mlp": mlp,
    "autoencoder": autoencoder,
    "unet": UNet,
    "fcn8s": FCN8s,
    "maskrcnn_resnet50_fpn": mask_rcnn,
    "dcgan": dcgan,
}
"""By the names of the cases; the argument is the number of classes."""
