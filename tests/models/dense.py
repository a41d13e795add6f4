"""What the tests of networks for segmentation share."""

import jax
import jax.numpy as jnp
import numpy as np
from flax.traverse_util import flatten_dict, unflatten_dict

from tests.tolerance import assert_close


def traced(model, shape):
    """Shapes of output and parameters for one image; nothing is computed."""
    images = jnp.zeros((1, *shape))
    output, variables = jax.eval_shape(lambda: model.init_with_output(jax.random.key(0), images))
    return output.shape, variables["params"]


def count(params):
    return sum(leaf.size for leaf in jax.tree.leaves(params))


def drawn(model, images, seed=0):
    """Random float64 variables; statistics of BatchNorm are positive."""
    rng = np.random.default_rng(seed)
    shapes = jax.eval_shape(model.init, jax.random.key(0), images)

    def draw(path, leaf):
        fan_in = np.prod(leaf.shape[:-1]) if leaf.ndim == 4 else 1
        normal = rng.normal(size=leaf.shape) / np.sqrt(fan_in)
        return jnp.asarray(1 + abs(normal) / 2 if path.endswith(("scale", "var")) else normal)

    flat = flatten_dict(shapes, sep="/")
    return unflatten_dict({path: draw(path, leaf) for path, leaf in flat.items()}, sep="/")


def assert_equals_torch(model, variables, images, theirs, names, *, train=False):
    """Outputs, and gradients of a weighted sum of them, equal those of PyTorch, in float64.

    Args:
        model, variables, images: ours.
        theirs: PyTorch's module.
        names: our paths by PyTorch's names.
        train: whether statistics of the batch are used.
    """
    import torch

    flat = flatten_dict(variables, sep="/")
    state = {name: torch.tensor(in_torch(flat[path])) for name, path in names.items()}
    theirs = theirs.double().train(train)
    missing, unexpected = theirs.load_state_dict(state, strict=False)
    assert not unexpected and all(name.endswith("num_batches_tracked") for name in missing)
    outputs = theirs(torch.tensor(np.array(images)).permute(0, 3, 1, 2))
    weights = np.random.default_rng(1).normal(size=outputs.permute(0, 2, 3, 1).shape)
    (outputs.permute(0, 2, 3, 1) * torch.tensor(weights)).sum().backward()

    @jax.jit
    def ours(params):
        def loss(params):
            y, _ = model.apply(
                {**variables, "params": params}, images, train=train, mutable=["batch_stats"]
            )
            return jnp.sum(y * weights), y

        return jax.value_and_grad(loss, has_aux=True)(params)

    (_, mine), gradients = ours(variables["params"])
    assert_close(mine, outputs.detach().permute(0, 2, 3, 1).numpy())
    gradients = flatten_dict({"params": gradients}, sep="/")
    parameters = dict(theirs.named_parameters())
    assert {names[name] for name in parameters} == gradients.keys()
    for name, parameter in parameters.items():
        assert_close({name: in_torch(gradients[names[name]])}, {name: parameter.grad.numpy()})


def in_torch(array):
    array = np.array(array)
    return array.transpose(3, 2, 0, 1) if array.ndim == 4 else array
