import jax
import jax.numpy as jnp
import numpy as np
import pytest

from cnn_jax.models import GAN, DCGANDiscriminator, DCGANGenerator
from cnn_jax.pretrained import from_torch, to_torch
from tests.tolerance import assert_close

SHAPE, LATENT, WIDTH = (16, 24, 3), 5, 2
"""Two halvings, to maps of 4x6 pixels."""


def sizes(tree):
    return {name: sum(leaf.size for leaf in jax.tree.leaves(part)) for name, part in tree.items()}


@pytest.mark.parametrize(
    ("image_shape", "generator", "discriminator"),
    [
        ((64, 64, 3), 3_576_704, 2_765_568),
        # One convolution of 256 to 512 channels less, and kernels of 4x4 on half the channels.
        ((32, 32, 3), 1_068_928, 663_296),
        ((28, 28, 1), 100 * 128 * 49 + 128 * 64 * 16 + 64 * 16 + 2 * 192, 138_624),
    ],
)
def test_parameters(image_shape, generator, discriminator):
    model = GAN(DCGANGenerator(image_shape), DCGANDiscriminator(image_shape))
    shapes = jax.eval_shape(model.init, jax.random.key(0), jnp.zeros((1, 100)))
    assert sizes(shapes["params"]) == {"generator": generator, "discriminator": discriminator}
    logits = jax.eval_shape(model.apply, shapes, jnp.zeros((3, 100)))
    assert logits.shape == (3,)
    images = jax.eval_shape(
        lambda variables, z: model.apply(variables, z, method="generate"),
        shapes,
        jnp.ones((3, 100)),
    )
    assert images.shape == (3, *image_shape)


def drawn(model, inputs):
    """Variables and inputs of both signs, in float64."""
    rng = np.random.default_rng(0)
    shapes = jax.eval_shape(model.init, jax.random.key(0), inputs)
    variables = jax.tree.map(lambda leaf: jnp.asarray(rng.normal(size=leaf.shape)), shapes)
    for norm in variables["batch_stats"].values():
        norm["var"] = 1 + jnp.square(norm["var"])
    return variables


def ours(model, variables, inputs, train):
    """Maps, outputs, gradients and statistics of a model."""

    def energy(params, inputs):
        both = {**variables, "params": params}
        options = {"train": train, "mutable": ["batch_stats"]}
        maps, _ = model.apply(both, inputs, method="features", **options)
        outputs, state = model.apply(both, inputs, **options)
        return jnp.sum(jnp.sin(outputs)), (maps, outputs, state)

    gradient = jax.jit(jax.grad(energy, argnums=(0, 1), has_aux=True))
    (by_params, by_inputs), (maps, outputs, state) = gradient(variables["params"], inputs)
    named = to_torch(model, {"params": by_params, **state})
    statistics = {name for name in named if "running" in name}
    return {
        "maps": list(maps.values()),
        "outputs": outputs,
        "by_inputs": by_inputs,
        "by_params": {name: named[name] for name in named.keys() - statistics if not counts(name)},
        "statistics": {name: named[name] for name in statistics},
    }


def counts(name):
    return name.endswith("num_batches_tracked")


def theirs(torch, module, model, variables, inputs, train):
    def nhwc(y):
        y = y.detach().numpy()
        return y.transpose(0, 2, 3, 1) if y.ndim == 4 else y

    state = {name: torch.from_numpy(array) for name, array in to_torch(model, variables).items()}
    module.load_state_dict(state)
    module.train(train)
    maps = []
    # In place, so the map is the output of the ReLU.
    for layer in module.main:
        if isinstance(layer, torch.nn.ReLU | torch.nn.LeakyReLU):
            layer.register_forward_hook(lambda _, __, y: maps.append(nhwc(y)))
    given = torch.from_numpy(np.array(inputs))
    given = given.permute(0, 3, 1, 2) if given.ndim == 4 else given[..., None, None]
    given.requires_grad_(True)
    outputs = module.main(given)
    torch.sin(outputs).sum().backward()
    gradients = {name: value.grad for name, value in module.named_parameters()}
    return {
        "maps": maps,
        "outputs": nhwc(outputs).squeeze(),
        "by_inputs": nhwc(given.grad).reshape(inputs.shape),
        "by_params": {name: value.numpy() for name, value in gradients.items()},
        "statistics": {
            name: value.numpy() for name, value in module.named_buffers() if not counts(name)
        },
    }


@pytest.mark.parametrize("train", [True, False])
@pytest.mark.parametrize("network", ["generator", "discriminator"])
def test_equals_pytorch_s_example(network, train):
    torch = pytest.importorskip("torch", reason="torch is not installed")
    from tests.models import torch_gans

    rng = np.random.default_rng(1)
    with jax.enable_x64(True):
        if network == "generator":
            model = DCGANGenerator(SHAPE, LATENT, WIDTH)
            module = torch_gans.dcgan_generator(SHAPE, LATENT, WIDTH)
            inputs = jnp.asarray(rng.normal(size=(3, LATENT)))
        else:
            model = DCGANDiscriminator(SHAPE, WIDTH)
            module = torch_gans.dcgan_discriminator(SHAPE, WIDTH)
            inputs = jnp.asarray(rng.normal(size=(3, *SHAPE)))
        variables = drawn(model, inputs)
        actual = ours(model, variables, inputs, train)
        expected = theirs(torch, module, model, variables, inputs, train)
        actual["by_params"] = {
            name: array
            for name, array in actual["by_params"].items()
            if name in expected["by_params"]
        }
        assert_close(actual, expected)


def test_state_dicts_of_the_example_load():
    model = DCGANGenerator((8, 8, 1), 3, 2)
    variables = drawn(model, jnp.ones((1, 3)))
    again = from_torch(model, to_torch(model, variables), (3,))
    assert_close(again, variables, rtol=1e-6)


def test_the_initialization_is_the_paper_s():
    model = GAN(DCGANGenerator((32, 32, 3)), DCGANDiscriminator((32, 32, 3)))
    params = jax.jit(model.init)(jax.random.key(0), jnp.zeros((1, 100)))["params"]
    kernels = [leaf for leaf in jax.tree.leaves(params) if leaf.ndim == 4 and leaf.size > 5000]
    assert len(kernels) == 5
    for kernel in kernels:
        assert abs(np.mean(kernel)) < 1e-3 and 0.019 < np.std(kernel) < 0.021
    norm = params["generator"]["norms_0"]
    assert not norm["bias"].any() and abs(np.mean(norm["scale"]) - 1) < 0.01
    assert 0.015 < np.std(norm["scale"]) < 0.025


@pytest.mark.parametrize("norm", ["spectral", "none"])
def test_a_conditional_pair_without_batch_norm_depends_on_the_label(norm):
    shape = (8, 8, 1)
    model = GAN(
        DCGANGenerator(shape, 3, 2, num_classes=4),
        DCGANDiscriminator(shape, 2, num_classes=4, norm=norm),
    )
    latents, labels = jnp.ones((4, 3)), jnp.arange(4)
    variables = jax.jit(model.init)(jax.random.key(0), latents, labels)
    assert ("spectral_norm" in variables) == (norm == "spectral")
    images = model.apply(variables, latents, labels, method="generate")
    assert len({image.tobytes() for image in np.asarray(images)}) == 4
    logits = model.apply(variables, images[:1].repeat(4, 0), labels, method="judge")
    assert len(set(np.asarray(logits).tolist())) == 4


@pytest.mark.usefixtures("no_shape_hook")
def test_messages():
    with pytest.raises(ValueError, match="images of 30x30 pixels cannot be halved to maps of 4"):
        DCGANGenerator((30, 30, 3))
    with pytest.raises(ValueError, match="images of 4x4 pixels cannot be halved"):
        DCGANDiscriminator((4, 4, 3))
    with pytest.raises(ValueError, match="norm must be one of 'batch', 'spectral', 'none'"):
        DCGANDiscriminator(norm="layer")
    with pytest.raises(ValueError, match="same classes, got num_classes 10 and 0"):
        GAN(DCGANGenerator(num_classes=10), DCGANDiscriminator())
    with pytest.raises(ValueError, match="got no labels with num_classes=10"):
        DCGANGenerator(num_classes=10).init(jax.random.key(0), jnp.ones((1, 100)))
    with pytest.raises(ValueError, match=r"of \(64, 64, 3\), got shape \(1, 32, 32, 3\)"):
        DCGANDiscriminator().init(jax.random.key(0), jnp.ones((1, 32, 32, 3)))
