"""Our classifiers with PyTorch's weights, in PyTorch's names and layout."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax.traverse_util import flatten_dict

from cnn_jax.models import create_model, example_shape
from cnn_jax.pretrained import from_torch
from tests.references.weights import NUMBER_OF_CLASSES, images_and_labels, weights

BATCH = 2


def our_model(classifier):
    """Our model of an entry of `tests.references.classifiers`."""
    return create_model(classifier.name, num_classes=NUMBER_OF_CLASSES, **classifier.attributes)


def drawn_weights(classifier):
    """A random state dict for both models; PyTorch's names are the seeds."""
    return drawn_state(our_model(classifier), example_shape(classifier.name))


def drawn_state(model, image_shape):
    """A random state dict for a model of ours that has `torch_names`."""
    images = jnp.zeros((1, *image_shape))
    shapes = jax.eval_shape(model.init, jax.random.key(0), images)
    flat = flatten_dict(shapes, sep="/")
    return weights(
        {name: _torch_shape(flat[path].shape) for name, path in model.torch_names().items()}
    )


def ours(classifier, state_dict, batch, size, *, train, gradients, dtype=np.float64):
    """The results of our model, as in `tests.references.torchvision_models.reference`."""
    with jax.enable_x64(dtype == np.float64):
        model = our_model(classifier)
        variables = from_torch(model, state_dict)
        images, labels = images_and_labels(batch, size)
        images = jnp.asarray(images.astype(dtype))

        def cross_entropy(logits):
            return optax.softmax_cross_entropy_with_integer_labels(logits, labels).mean()

        def loss_fn(params):
            outputs, updated = model.apply(
                {**variables, "params": params},
                images,
                train=train,
                mutable=["batch_stats", "intermediates"],
                capture_intermediates=lambda module, method: module.name == "body",
            )
            (maps,) = updated.pop("intermediates")["body"]["__call__"]
            logits, *auxiliary = outputs if isinstance(outputs, tuple) else (outputs,)
            weighted = sum(map(cross_entropy, auxiliary))
            loss = cross_entropy(logits) + classifier.auxiliary_weight * weighted
            return loss, (maps, logits, auxiliary, updated)

        step = jax.value_and_grad(loss_fn, has_aux=True) if gradients else loss_fn
        result = jax.jit(step)(variables["params"])
    derived = {}
    if gradients:
        result, derived = result
    loss, (maps, logits, auxiliary, updated) = result
    arrays = {f"features/{name}": np.transpose(value, (0, 3, 1, 2)) for name, value in maps.items()}
    arrays |= {"logits": logits, "loss": loss}
    arrays |= {f"aux{i}": output for i, output in enumerate(auxiliary, start=1)}
    paths = model.torch_names()
    if gradients:
        arrays |= _in_torch_layout("gradients", paths, {"params": derived})
    if train:
        arrays |= _in_torch_layout("statistics", paths, updated)
    return {name: np.asarray(value) for name, value in arrays.items()}


def _in_torch_layout(kind, paths, variables):
    """Arrays by PyTorch's names, kernels as OIHW and [out, in]."""
    flat = flatten_dict(variables, sep="/")
    return {
        f"{kind}/{name}": _torch_layout(np.asarray(flat[path]))
        for name, path in paths.items()
        if path in flat
    }


def _torch_layout(array):
    return array.transpose(3, 2, 0, 1) if array.ndim == 4 else array.T


def _torch_shape(shape):
    return (shape[3], shape[2], *shape[:2]) if len(shape) == 4 else shape[::-1]
