"""torchvision, where it is installed, and one training step of its models."""

import importlib
import os
import sys

import numpy as np

from tests.references.weights import NUMBER_OF_CLASSES, images_and_labels, weights


def import_torchvision():
    """The module; a directory with `torchvision_cpu.py` may be named by CNN_JAX_TORCHVISION_CPU.

    There is no CPU build of torchvision; that module declares what the other builds' compiled
    extension would, and has to be imported first.

    Raises:
        ImportError: torch or torchvision is missing or cannot be loaded.
    """
    if directory := os.environ.get("CNN_JAX_TORCHVISION_CPU"):
        sys.path.insert(0, directory)
        try:
            importlib.import_module("torchvision_cpu")
        finally:
            sys.path.remove(directory)
    try:
        return importlib.import_module("torchvision")
    except RuntimeError as error:  # operators of the extension that were not declared
        raise ImportError(str(error)) from error


def reference(name, batch, size):
    """What torchvision's model does with the deterministic weights, in float64.

    Returns a dict of numpy arrays under PyTorch's names and in its layout: `state_dict`,
    `eval_logits`, and of one training step with softmax cross-entropy `train_logits`, `loss`,
    `gradients` and `statistics` (the running ones, after the step).
    """
    import torch

    torchvision = import_torchvision()
    model = torchvision.models.get_model(name, num_classes=NUMBER_OF_CLASSES).double()
    shapes = {
        key: tuple(value.shape)
        for key, value in model.state_dict().items()
        if not key.endswith("num_batches_tracked")
    }
    state = weights(shapes)
    model.load_state_dict({k: torch.tensor(v) for k, v in state.items()}, strict=False)
    images, labels = images_and_labels(batch, size)
    x = torch.tensor(images.transpose(0, 3, 1, 2))

    with torch.no_grad():
        eval_logits = model.eval()(x)
    train_logits = model.train()(x)
    loss = torch.nn.functional.cross_entropy(train_logits, torch.tensor(labels, dtype=torch.long))
    loss.backward()
    return {
        "state_dict": state,
        "eval_logits": eval_logits.numpy(),
        "train_logits": train_logits.detach().numpy(),
        "loss": np.asarray(loss.item()),
        "gradients": {k: p.grad.numpy() for k, p in model.named_parameters()},
        "statistics": {k: b.numpy() for k, b in model.named_buffers() if k.split(".")[-1] in STATS},
    }


STATS = ("running_mean", "running_var")
