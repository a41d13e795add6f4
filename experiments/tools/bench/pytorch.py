"""PyTorch's programs: training steps and forward passes as its users write them.

Convolutional networks are channels-last; on a GPU float32 may use TensorFloat-32, as with JAX, and
cuDNN's fastest algorithms are looked for. Nothing here imports JAX.
"""

import os
from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np

from experiments.tools.bench.cases import Case, noise, order_file, weights_file
from experiments.tools.bench.program import Missing, Run


class Parts:
    """Model, data and loss of a case.

    Args:
        case: fields of a `Case`.
        batch_size: examples a step.
        directory: where our program has written its parameters and its order of examples.
        platform: "cpu" or "gpu", where our program runs.
        precision: "bfloat16" is autocast; parameters stay float32.
        compiled: use `torch.compile`.

    Raises:
        Missing: torch is not installed, or sees no GPU where ours does.
    """

    def __init__(
        self,
        case: Mapping[str, Any],
        batch_size: int,
        *,
        directory: str,
        platform: str = "cpu",
        precision: str = "float32",
        compiled: bool = False,
    ) -> None:
        set_up(platform)
        import torch
        from safetensors.torch import load_file

        from experiments.tools.bench.torch_models import MODELS

        self.work, self.batch_size = Case(**case), batch_size
        self.device, self.precision = {"cpu": "cpu", "gpu": "cuda"}[platform], precision
        model: Any = MODELS[self.work.model](self.work.num_classes)
        _load(model, load_file(weights_file(Path(directory), "torch")))
        # A grey image is contiguous and channels-last at once, and only convolutions ask.
        self.model = model.to(self.device, memory_format=torch.channels_last)
        self.applied = torch.compile(self.model) if compiled else self.model
        images, labels = noise(self.work, batch_size)
        self.images = torch.from_numpy(images).to(self.device)
        self.labels = torch.from_numpy(labels).to(self.device, torch.long)
        order = np.load(order_file(Path(directory)))
        self.order = torch.from_numpy(order.astype(np.int64)).to(self.device)

    def loss(self, places: Any) -> Any:
        """Mean loss of the examples at these places."""
        import torch
        from torch.nn.functional import cross_entropy

        # Transposed only in name: this is channels-last.
        images = self.images[places].permute(0, 3, 1, 2)
        images = (images.to(torch.float32) / 255 - self.work.mean) / self.work.std
        with self.autocast():
            outputs = self.applied(images)
        if self.work.task == "classification":
            return cross_entropy(outputs.float(), self.labels[places])
        return (torch.sigmoid(outputs.float()) - images).square().sum() / len(images)

    def autocast(self) -> AbstractContextManager:
        """bfloat16 where it pays, or nothing."""
        import torch

        if self.precision == "float32":
            return nullcontext()
        return torch.autocast(self.device, torch.bfloat16)


def _load(model: Any, state: dict[str, Any]) -> None:
    """Load our parameters; what has none in ours is constant, or counts batches."""
    missing, unexpected = model.load_state_dict(state, strict=False)
    constant = {name for name, value in model.named_parameters() if not value.requires_grad}
    missing = [
        name
        for name in missing
        if name not in constant and not name.endswith("num_batches_tracked")
    ]
    if missing or unexpected:
        raise ValueError(
            f"{type(model).__name__} has other parameters than ours: {missing} are missing in "
            f"ours, {list(unexpected)} in it; mend torch_models.py"
        )


def set_up(platform: str = "cpu") -> None:
    """Threads and precision as ours.

    Raises:
        Missing: torch is not installed, or sees no GPU where ours does.
    """
    if not find_spec("torch"):
        raise Missing("torch is not installed: pip install 'cnn-jax[torch]'")
    import torch

    torch.set_num_threads(len(os.sched_getaffinity(0)))
    if platform == "gpu":
        if not torch.cuda.is_available():
            raise Missing("JAX runs on a GPU, and this torch sees none")
        torch.set_float32_matmul_precision("high")
        torch.backends.cudnn.benchmark = True


def training(**arguments: Any) -> Run:
    """Forward, backward and update in a Python loop; see `Parts`."""
    parts = Parts(**arguments)
    import torch

    work, model = parts.work, parts.model
    trained = [value for value in model.parameters() if value.requires_grad]
    optimizer: torch.optim.Optimizer
    if work.optimizer == "sgd":
        optimizer = torch.optim.SGD(
            trained, work.learning_rate, 0.9, weight_decay=work.l2, nesterov=True
        )
    else:
        optimizer = torch.optim.Adam(trained, work.learning_rate)
    size, done = parts.batch_size, 0
    batches = len(parts.order) // size

    def run(n: int) -> list[float]:
        nonlocal done
        losses = []
        for _ in range(n):
            start = done % batches * size
            loss = parts.loss(parts.order[start : start + size])
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            optimizer.step()
            losses.append(loss.detach())
            done += 1
        mean = float(torch.stack(losses).mean())
        if parts.device == "cuda":
            torch.cuda.synchronize()
        return [mean]

    return run


def inference(**arguments: Any) -> Run:
    """Forward passes of one batch in evaluation mode."""
    parts = Parts(**arguments)
    import torch

    parts.model.eval()
    places = torch.arange(parts.batch_size, device=parts.device)

    def run(n: int) -> list[float]:
        with torch.inference_mode():
            for _ in range(n):
                loss = float(parts.loss(places))
        return [loss]

    return run
