import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax.traverse_util import flatten_dict, unflatten_dict

from cnn_jax.models import GAN, SNGANDiscriminator, SNGANGenerator
from tests.tolerance import assert_close

SHAPE, LATENT, WIDTH, CLASSES = (8, 12, 3), 3, 4, 5


def sizes(tree):
    return {name: sum(leaf.size for leaf in jax.tree.leaves(part)) for name, part in tree.items()}


@pytest.mark.parametrize(
    ("num_classes", "generator", "discriminator"),
    [
        (0, 4_276_739, 1_053_825),
        # A scale and a bias for each class in two norms of three blocks; a vector for each class.
        (10, 4_276_739 + 6 * 2 * 9 * 256, 1_053_825 + 10 * 128),
    ],
)
def test_parameters(num_classes, generator, discriminator):
    model = GAN(
        SNGANGenerator(num_classes=num_classes), SNGANDiscriminator(num_classes=num_classes)
    )
    labels = jnp.zeros(1, int) if num_classes else None
    shapes = jax.eval_shape(model.init, jax.random.key(0), jnp.zeros((1, 128)), labels)
    assert sizes(shapes["params"]) == {"generator": generator, "discriminator": discriminator}


def drawn(model, *inputs):
    rng = np.random.default_rng(0)
    shapes = jax.eval_shape(model.init, jax.random.key(0), *inputs)
    flat = flatten_dict(shapes, sep="/")
    flat = {name: rng.normal(size=leaf.shape) for name, leaf in flat.items()}
    for name, array in flat.items():
        if name.endswith("/var"):
            flat[name] = 1 + array**2
        if name.startswith("spectral_norm"):
            flat[name] = array / np.linalg.norm(array)
    return unflatten_dict({name: jnp.asarray(array) for name, array in flat.items()}, sep="/")


def torch_state(torch, module, variables):
    """Our variables by PyTorch's names; those of spectral normalization too."""
    flat = flatten_dict(variables, sep="/")
    flat = {re.sub(r"(norm\d)/norm/", r"\1/", path): np.array(flat[path]) for path in flat}
    state = {}
    for name, value in module.state_dict().items():
        if name.endswith("num_batches_tracked"):
            state[name] = value
            continue
        short = re.sub(r"\.parametrizations\.weight(\.0)?|(?<=norm\d)\.norm", "", name)
        at, _, leaf = re.sub(r"blocks\.", "blocks_", short).replace(".", "/").rpartition("/")
        paths = {
            "running_mean": [f"batch_stats/{at}/mean"],
            "running_var": [f"batch_stats/{at}/var"],
            "bias": [f"params/{at}/bias"],
            "_u": [f"spectral_norm/{at}_norm/left"],
            "_v": [f"spectral_norm/{at}_norm/right"],
        }.get(leaf, [f"params/{at}/kernel", f"params/{at}/scale", f"params/{at}"])
        (path,) = (path for path in paths if path in flat)
        array = flat[path]
        if array.ndim == 4:
            array = array.transpose(3, 2, 0, 1)
        elif path.endswith("kernel") and at != "projection":
            array = array.T
        elif leaf == "_v" and "blocks" in at:
            *size, channels, _ = flat[f"params/{at}/kernel"].shape
            array = array.reshape(*size, channels).transpose(2, 0, 1).ravel()
        assert value.shape == array.shape, name
        state[name] = torch.from_numpy(np.ascontiguousarray(array))
    return state


@pytest.mark.parametrize("classes", [0, CLASSES])
@pytest.mark.parametrize("network", ["generator", "discriminator"])
def test_equals_pytorch(network, classes):
    torch = pytest.importorskip("torch", reason="torch is not installed")
    from tests.models import torch_gans

    rng = np.random.default_rng(1)
    labels = rng.integers(0, CLASSES, 3) if classes else None
    with jax.enable_x64(True):
        if network == "generator":
            model = SNGANGenerator(SHAPE, LATENT, WIDTH, classes)
            module = torch_gans.SNGANGenerator(SHAPE, LATENT, WIDTH, classes)
            inputs = rng.normal(size=(3, LATENT))
        else:
            model = SNGANDiscriminator(WIDTH, classes)
            module = torch_gans.SNGANDiscriminator(SHAPE, WIDTH, classes)
            inputs = rng.normal(size=(3, *SHAPE))
        given = None if labels is None else jnp.asarray(labels, jnp.int32)
        variables = drawn(model, jnp.asarray(inputs), given)
        module.double().load_state_dict(torch_state(torch, module, variables))

        def energy(params, inputs):
            both = {**variables, "params": params}
            mutable = ["batch_stats", "spectral_norm"]
            outputs, state = model.apply(both, inputs, given, train=True, mutable=mutable)
            return jnp.sum(jnp.sin(outputs)), (outputs, state)

        gradient = jax.jit(jax.grad(energy, argnums=(0, 1), has_aux=True))
        (by_params, by_inputs), (outputs, state) = gradient(
            variables["params"], jnp.asarray(inputs)
        )

    tensor = torch.from_numpy(inputs)
    tensor = tensor.permute(0, 3, 1, 2) if tensor.ndim == 4 else tensor
    tensor.requires_grad_(True)
    expected = module(tensor, None if labels is None else torch.from_numpy(labels))
    torch.sin(expected).sum().backward()
    image = (0, 2, 3, 1)
    theirs = expected.detach().numpy()
    assert_close(outputs, theirs.transpose(image) if theirs.ndim == 4 else theirs)
    of_inputs = tensor.grad.numpy()
    assert_close(by_inputs, of_inputs.transpose(image) if of_inputs.ndim == 4 else of_inputs)
    actual = torch_state(torch, module, {"params": by_params, **state})
    after = dict(module.named_buffers())
    for name, parameter in module.named_parameters():
        assert_close(actual[name].numpy(), parameter.grad.numpy(), rtol=1e-7)
    for name in after:
        if not name.endswith("num_batches_tracked"):
            assert_close(actual[name].numpy(), after[name].numpy())
