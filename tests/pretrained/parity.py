"""A training step of one of our models with PyTorch's weights, in PyTorch's names and layout."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax.traverse_util import flatten_dict

from cnn_jax.models import create_model
from cnn_jax.pretrained import from_torch
from tests.references.weights import NUMBER_OF_CLASSES, images_and_labels


def ours(name, state_dict, batch, size):
    """What `tests.references.torchvision_models.reference` gives, of our model, in float64."""
    with jax.enable_x64(True):
        model = create_model(name, num_classes=NUMBER_OF_CLASSES)
        variables = from_torch(model, state_dict)
        images, labels = map(jnp.asarray, images_and_labels(batch, size))

        def loss_fn(params):
            logits, updated = model.apply(
                {**variables, "params": params}, images, train=True, mutable=["batch_stats"]
            )
            losses = optax.softmax_cross_entropy_with_integer_labels(logits, labels)
            return losses.mean(), (logits, updated)

        step = jax.jit(jax.value_and_grad(loss_fn, has_aux=True))
        (loss, (train_logits, updated)), gradients = step(variables["params"])
        eval_logits = jax.jit(model.apply)(variables, images)
    paths = model.torch_names()
    return {
        "eval_logits": np.asarray(eval_logits),
        "train_logits": np.asarray(train_logits),
        "loss": np.asarray(loss),
        "gradients": in_torch_layout(paths, {"params": gradients}),
        "statistics": in_torch_layout(paths, updated),
    }


def in_torch_layout(paths, variables):
    """Arrays by PyTorch's names, kernels as OIHW and [out, in]."""
    flat = flatten_dict(variables, sep="/")
    return {name: _torch_layout(np.asarray(flat[p])) for name, p in paths.items() if p in flat}


def _torch_layout(array):
    return array.transpose(3, 2, 0, 1) if array.ndim == 4 else array.T
