"""PyTorch's sides of the style benchmark, as its users write them. Nothing here imports JAX."""

from typing import Any

import numpy as np

from experiments.tools.bench.pytorch import set_up
from experiments.tools.bench.side import RunSteps, digest
from experiments.tools.bench.style_work import (
    CONTENT,
    CONTENT_WEIGHT,
    LEARNING_RATE,
    MEAN,
    STD,
    STYLE,
    STYLE_WEIGHT,
    pictures,
    weights_file,
)

# The convolutions of torchvision's VGG-19 by position, up to conv5_1; None is a pooling.
LAYERS = (0, 2, None, 5, 7, None, 10, 12, 14, 16, None, 19, 21, 23, 25, None, 28)


def _loaded(directory: str, platform: str) -> tuple[dict[str, Any], str]:
    set_up(platform)
    import torch
    from safetensors.torch import load_file

    device = {"cpu": "cpu", "gpu": "cuda"}[platform]
    state = load_file(weights_file(directory), device=device)
    return {
        name: value.contiguous(memory_format=torch.channels_last) if value.ndim == 4 else value
        for name, value in state.items()
    }, device


def _image(picture: np.ndarray, device: str) -> Any:
    import torch

    # This only changes strides: the image is channels-last.
    return torch.from_numpy(picture).to(device).permute(0, 3, 1, 2)


def optimization(*, size: int, directory: str, platform: str) -> RunSteps:
    """Adam's iterations on the content picture."""
    weights, device = _loaded(directory, platform)
    import torch
    import torch.nn.functional as F

    mean, std = (torch.tensor(one, device=device)[None, :, None, None] for one in (MEAN, STD))

    def features(images: Any) -> dict[str, Any]:
        x, maps, stage, number = (images - mean) / std, {}, 1, 0
        for position in LAYERS:
            if position is None:
                x, stage, number = F.avg_pool2d(x, 2), stage + 1, 0
                continue
            number += 1
            name = f"features.{position}"
            x = F.relu(F.conv2d(x, weights[f"{name}.weight"], weights[f"{name}.bias"], padding=1))
            maps[f"conv{stage}_{number}"] = x
        return maps

    def gram(x: Any) -> Any:
        flat = x.flatten(2)
        return flat @ flat.transpose(1, 2) / flat.shape[2]

    def relative(value: Any, target: Any) -> Any:
        return F.mse_loss(value, target) / target.square().mean()

    content, style = (_image(picture, device) for picture in pictures(size))
    with torch.no_grad():
        target = features(content)[CONTENT]
        grams = {name: gram(x) for name, x in features(style).items() if name in STYLE}
    image = content.clone().requires_grad_()
    optimizer = torch.optim.Adam([image], LEARNING_RATE)

    def loss_of(image: Any) -> Any:
        maps = features(image)
        down, right = image[:, :, 1:] - image[:, :, :-1], image[..., 1:] - image[..., :-1]
        of_style = sum(relative(gram(maps[name]), grams[name]) for name in STYLE) / len(STYLE)
        return (
            CONTENT_WEIGHT * relative(maps[CONTENT], target)
            + STYLE_WEIGHT * of_style
            + down.square().mean()
            + right.square().mean()
        )

    def run(n: int) -> list[float]:
        for _ in range(n):
            optimizer.zero_grad(set_to_none=True)
            loss_of(image).backward()
            optimizer.step()
        with torch.no_grad():
            return [float(loss_of(image))]

    return run


def one_pass(*, size: int, directory: str, platform: str) -> RunSteps:
    """Passes of one picture, one after another."""
    weights, device = _loaded(directory, platform)
    import torch
    import torch.nn.functional as F

    def conv(name: str, x: Any, stride: int = 1, upsample: int = 1) -> Any:
        weight, bias = weights[f"{name}.conv2d.weight"], weights[f"{name}.conv2d.bias"]
        if upsample > 1:
            x = F.interpolate(x, mode="nearest", scale_factor=upsample)
        x = F.pad(x, [weight.shape[-1] // 2] * 4, mode="reflect")
        return F.conv2d(x, weight, bias, stride)

    def norm(name: str, x: Any) -> Any:
        scale, bias = weights[f"{name}.weight"], weights[f"{name}.bias"]
        return F.instance_norm(x, weight=scale, bias=bias)

    def styled(x: Any) -> Any:
        for number, stride in ((1, 1), (2, 2), (3, 2)):
            x = F.relu(norm(f"in{number}", conv(f"conv{number}", x, stride)))
        for block in range(1, 6):
            name = f"res{block}"
            y = F.relu(norm(f"{name}.in1", conv(f"{name}.conv1", x)))
            x = x + norm(f"{name}.in2", conv(f"{name}.conv2", y))
        for number in (1, 2):
            x = F.relu(norm(f"in{number + 3}", conv(f"deconv{number}", x, upsample=2)))
        return conv("deconv3", x)

    image = _image(255 * pictures(size)[0], device)
    with torch.inference_mode():
        numbers = [digest(styled(image).permute(0, 2, 3, 1).cpu().numpy())]

    def run(n: int) -> list[float]:
        with torch.inference_mode():
            for _ in range(n):
                styled(image).cpu()
        return numbers

    return run
