"""The results of torchvision's classifiers, if torchvision is installed."""

import importlib
import os
import sys

import numpy as np

from tests.references.weights import NUMBER_OF_CLASSES, images_and_labels


def import_torchvision():
    """The module torchvision.

    Without a CPU build of torchvision, set CNN_JAX_TORCHVISION_CPU to a directory with a module
    `torchvision_cpu.py`, which declares the operators of the compiled extension.

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


def reference(classifier, state_dict, batch, size, *, train, gradients, dtype=np.float64):
    """The results of torchvision's model for the deterministic images.

    Args:
        classifier: of `tests.references.classifiers`.
        state_dict: all parameters and statistics by PyTorch's names.
        batch, size: number and height of the images.
        train: training (without dropout) or evaluation.
        gradients: whether to compute gradients.
        dtype: dtype of all computation.

    Returns:
        A dict of numpy arrays in PyTorch's layout: `features/…`, `logits`, `aux1`, … of auxiliary
        classifiers, `loss` (softmax cross-entropy), `gradients/…` of all parameters by PyTorch's
        names, and in training `statistics/…`, the running statistics after the step.
    """
    import torch
    from torch.nn.functional import cross_entropy

    model = _model(classifier, state_dict, dtype).train(train)
    maps = {}

    def keep(name):
        # Not copied, because a later ReLU may change a map in place, as all later layers see it.
        return lambda module, inputs, output: maps.__setitem__(name, output)

    for name, module in classifier.features.items():
        model.get_submodule(module).register_forward_hook(keep(name))
    images, labels = images_and_labels(batch, size)
    with torch.set_grad_enabled(gradients):
        outputs = model(torch.tensor(images.transpose(0, 3, 1, 2).astype(dtype)))
        # GoogLeNet's tuple has the second auxiliary output before the first.
        logits, *auxiliary = outputs if isinstance(outputs, tuple) else (outputs,)
        auxiliary.reverse()
        target = torch.tensor(labels, dtype=torch.long)
        weighted = sum(cross_entropy(output, target) for output in auxiliary)
        loss = cross_entropy(logits, target) + classifier.auxiliary_weight * weighted
    result = {f"features/{name}": array.detach() for name, array in maps.items()}
    result |= {"logits": logits.detach(), "loss": loss.detach()}
    result |= {f"aux{i}": output.detach() for i, output in enumerate(auxiliary, start=1)}
    if gradients:
        loss.backward()
        # In evaluation auxiliary classifiers have no gradient.
        result |= {
            f"gradients/{name}": torch.zeros_like(value) if value.grad is None else value.grad
            for name, value in model.named_parameters()
        }
    if train:
        result |= {
            f"statistics/{name}": value
            for name, value in model.named_buffers()
            if not name.endswith(COUNTER)
        }
    return {name: value.numpy() for name, value in result.items()}


COUNTER = "num_batches_tracked"


def _model(classifier, state_dict, dtype):
    """Torchvision's model with these weights and without dropout."""
    import torch

    model = import_torchvision().models.get_model(
        classifier.name, num_classes=NUMBER_OF_CLASSES, **classifier.torch_attributes
    )
    if classifier.edit:
        classifier.edit(model)
    for module in model.modules():
        if isinstance(module, torch.nn.Dropout):
            module.p = 0.0
    model.to(torch.float64 if dtype == np.float64 else torch.float32)
    state = {name: torch.tensor(value) for name, value in state_dict.items()}
    missing, unexpected = model.load_state_dict(state, strict=False)
    missing = [name for name in missing if not name.endswith(COUNTER)]
    assert not missing and not unexpected, f"missing: {missing}; unexpected: {unexpected}"
    return model
