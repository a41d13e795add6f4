"""PyTorch's sides: training steps and forward passes as its users write them.

Convolutional networks are channels-last. On a GPU float32 may use TensorFloat-32, as in JAX, and
cuDNN searches for its fastest algorithms. Nothing here imports JAX.
"""

import os
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np

from experiments.tools.bench import torch_detection
from experiments.tools.bench.cases import (
    ADVERSARIAL_MOMENTUM,
    Case,
    noise,
    order_file,
    weights_file,
)
from experiments.tools.bench.side import Missing, RunSteps


class LoadedCase:
    """Model, data and loss of a case.

    Args:
        case: fields of a `Case`.
        batch_size: examples per step.
        directory: where our side has written its parameters and its order of examples.
        platform: "cpu" or "gpu", where our side runs.
        precision: "bfloat16" uses autocast; parameters stay float32.
        compiled: use `torch.compile`.

    Raises:
        Missing: torch is not installed, or finds no GPU although our side runs on one.
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

        self.case, self.batch_size = Case(**case), batch_size
        self.device, self.precision = {"cpu": "cpu", "gpu": "cuda"}[platform], precision
        model: Any = MODELS[self.case.model](self.case.num_classes)
        _load(model, load_file(weights_file(Path(directory), "torch")))
        # Dense networks may be channels-last too: only convolutions depend on the layout.
        self.model = model.to(self.device, memory_format=torch.channels_last)
        self.applied = self._compiled() if compiled else self.model
        arrays = noise(self.case, batch_size)
        self.images = torch.from_numpy(arrays.pop("image")).to(self.device)
        if self.case.task == "instances":
            self.targets = torch_detection.targets(arrays, self.device)
        else:
            (labels,) = arrays.values()
            self.labels = torch.from_numpy(labels).to(self.device, torch.long)
        order = np.load(order_file(Path(directory)))
        self.order = torch.from_numpy(order.astype(np.int64)).to(self.device)

    def _compiled(self) -> Any:
        import torch

        if self.case.task != "adversarial":
            return torch.compile(self.model)
        from experiments.tools.bench import torch_adversarial

        return torch_adversarial.compiled(self.model)

    def batch(self, places: Any) -> Any:
        """The normalized images at the given places, channels-last."""
        import torch

        # This only changes strides.
        images = self.images[places].permute(0, 3, 1, 2)
        return (images.to(torch.float32) / 255 - self.case.mean) / self.case.std

    def loss(self, places: Any) -> Any:
        """Mean loss of the examples at the given places; of a detector in evaluation its score, of
        a GAN the generator's.
        """
        import torch
        from torch.nn.functional import cross_entropy

        images = self.batch(places)
        if self.case.task == "instances":
            targets = [self.targets[place] for place in places.tolist()]
            with self.autocast():
                return torch_detection.loss_or_score(self.applied, images, targets)
        if self.case.task == "adversarial":
            from experiments.tools.bench import torch_adversarial

            with self.autocast():
                return torch_adversarial.evaluated(self.applied, images)
        with self.autocast():
            outputs = self.applied(images)
        if self.case.task != "reconstruction":
            return cross_entropy(outputs.float(), self.labels[places])
        return (torch.sigmoid(outputs.float()) - images).square().sum() / len(images)

    def autocast(self) -> AbstractContextManager:
        """Autocast to bfloat16, or nothing for float32."""
        import torch

        if self.precision == "float32":
            return nullcontext()
        return torch.autocast(self.device, torch.bfloat16)


def _load(model: Any, state: dict[str, Any]) -> None:
    """Load our parameters; only constants and counts of batches may be missing."""
    missing, unexpected = model.load_state_dict(state, strict=False)
    constant = {name for name, value in model.named_parameters() if not value.requires_grad}
    missing = [
        name
        for name in missing
        if name not in constant and not name.endswith("num_batches_tracked")
    ]
    if missing or unexpected:
        raise ValueError(
            f"the parameters of {type(model).__name__} differ from ours: ours lacks {missing}, it "
            f"lacks {list(unexpected)}; correct torch_models.py"
        )


def set_up(platform: str = "cpu") -> None:
    """Use the same number of threads and the same precision as our side.

    Raises:
        Missing: torch is not installed, or finds no GPU although our side runs on one.
    """
    if not find_spec("torch"):
        raise Missing("torch is not installed: pip install 'cnn-jax[torch]'")
    import torch

    torch.set_num_threads(len(os.sched_getaffinity(0)))
    if platform == "gpu":
        if not torch.cuda.is_available():
            raise Missing("JAX runs on a GPU, but torch finds none")
        torch.set_float32_matmul_precision("high")
        torch.backends.cudnn.benchmark = True


def training(**arguments: Any) -> RunSteps:
    """Forward, backward and update in a Python loop; see `LoadedCase`."""
    loaded = LoadedCase(**arguments)
    import torch

    if loaded.case.task == "adversarial":
        return _stepping(loaded, _adversarial_step(loaded))
    case, model = loaded.case, loaded.model
    trained = [value for value in model.parameters() if value.requires_grad]
    optimizer: torch.optim.Optimizer
    if case.optimizer == "sgd":
        optimizer = torch.optim.SGD(
            trained, case.learning_rate, 0.9, weight_decay=case.l2, nesterov=True
        )
    else:
        optimizer = torch.optim.Adam(trained, case.learning_rate)

    def step(places: Any) -> Any:
        loss = loaded.loss(places)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()
        return loss.detach()

    return _stepping(loaded, step)


def _adversarial_step(loaded: LoadedCase) -> Callable[[Any], Any]:
    from experiments.tools.bench.torch_adversarial import training_step

    step = training_step(
        loaded.applied, loaded.case.learning_rate, ADVERSARIAL_MOMENTUM, loaded.autocast
    )
    return lambda places: step(loaded.batch(places))


def _stepping(loaded: LoadedCase, step: Callable[[Any], Any]) -> RunSteps:
    """Steps over the data set in its order, and their mean loss."""
    import torch

    size, done = loaded.batch_size, 0
    batches = len(loaded.order) // size

    def run(n: int) -> list[float]:
        nonlocal done
        losses = []
        for _ in range(n):
            start = done % batches * size
            losses.append(step(loaded.order[start : start + size]))
            done += 1
        mean = float(torch.stack(losses).mean())
        if loaded.device == "cuda":
            torch.cuda.synchronize()
        return [mean]

    return run


def inference(**arguments: Any) -> RunSteps:
    """Forward passes of one batch in evaluation mode."""
    loaded = LoadedCase(**arguments)
    import torch

    loaded.model.eval()
    places = torch.arange(loaded.batch_size, device=loaded.device)

    def run(n: int) -> list[float]:
        with torch.inference_mode():
            for _ in range(n):
                loss = float(loaded.loss(places))
        return [loss]

    return run
