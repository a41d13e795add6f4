"""ResNets for CIFAR in PyTorch, as in akamaster/pytorch_resnet_cifar10 (resnet.py)."""

import torch
from torch import nn
from torch.nn import functional


class Block(nn.Module):
    def __init__(self, inputs, outputs, stride):
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(outputs)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(outputs)
        self.stride, self.zeros = stride, outputs // 4 if inputs != outputs else 0

    def forward(self, x):
        y = functional.relu(self.bn1(self.conv1(x)))
        y = self.bn2(self.conv2(y))
        x = x[:, :, :: self.stride, :: self.stride]
        x = functional.pad(x, (0, 0, 0, 0, self.zeros, self.zeros))
        return functional.relu(x + y)


class CifarResNet(nn.Module):
    """6n + 2 layers; option A with half of the zero channels before and half after the others."""

    def __init__(self, depth, num_classes=10, widths=(16, 32, 64)):
        super().__init__()
        self.conv1 = nn.Conv2d(3, widths[0], 3, 1, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(widths[0])
        inputs, size = widths[0], (depth - 2) // 6
        for stage, width in enumerate(widths, start=1):
            blocks = []
            for number in range(size):
                first = stage > 1 and number == 0
                blocks.append(Block(inputs, width, 2 if first else 1))
                inputs = width
            setattr(self, f"layer{stage}", nn.Sequential(*blocks))
        self.linear = nn.Linear(inputs, num_classes)

    def forward(self, x):
        x = functional.relu(self.bn1(self.conv1(x)))
        x = self.layer3(self.layer2(self.layer1(x)))
        return self.linear(torch.mean(x, (2, 3)))
