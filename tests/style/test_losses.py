"""The losses of style transfer, against PyTorch's and against the definitions."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from cnn_jax.models import VGG
from cnn_jax.pretrained import to_torch
from cnn_jax.style import content_loss, gram_matrices, style_loss, total_variation
from tests.tolerance import assert_close

CONTENT = {"conv2_2": 0.5, "conv3_1": 2.0}
STYLE = {"conv1_1": 1.0, "conv2_1": 0.5, "conv3_1": 3.0}
PARTS = {"content": 2.0, "style": 30.0, "variation": 0.7}


def draw(*shape, seed=0):
    return np.random.default_rng(seed).uniform(0, 1, shape)


@pytest.mark.parametrize("pooling", ["max", "average"])
@pytest.mark.parametrize("relative", [False, True])
def test_losses_and_their_gradient_equal_pytorch(pooling, relative):
    torch = pytest.importorskip("torch", reason="torch is not installed")
    content, style, image = draw(1, 12, 16, 3), draw(1, 16, 12, 3, seed=1), draw(1, 12, 16, 3)
    model = VGG((1, 2, 1), (4, 5, 6), hidden=None, num_classes=0, pooling=pooling)

    with jax.enable_x64(True):
        variables = model.init(jax.random.key(0), jnp.asarray(image))
        variables = jax.tree.map(lambda leaf: 0.1 + leaf.astype(jnp.float64), variables)

        def features(images):
            return model.apply(variables, images, method="features")

        grams = gram_matrices(features(jnp.asarray(style)), STYLE)
        targets = features(jnp.asarray(content))

        @jax.jit
        def parts(images):
            maps = features(images)
            return {
                "content": content_loss(maps, targets, CONTENT, relative=relative)[0],
                "style": style_loss(maps, grams, STYLE, relative=relative)[0],
                "variation": total_variation(images)[0],
            }

        def total(images):
            return sum(PARTS[name] * part for name, part in parts(images).items())

        ours = parts(jnp.asarray(image)), jax.jit(jax.grad(total))(jnp.asarray(image))
        weights = to_torch(model, variables)

    weights = {name: torch.as_tensor(array) for name, array in weights.items()}
    theirs = torch_parts(torch, weights, pooling, relative, content, style, image)
    assert_close(ours, theirs)


def torch_parts(torch, weights, pooling, relative, content, style, image):
    """The transcription: values of the parts, and the gradient of their weighted sum."""
    F = torch.nn.functional
    pool = F.avg_pool2d if pooling == "average" else F.max_pool2d
    # The positions of the convolutions in torchvision's Sequential.
    layers = {"conv1_1": 0, "conv2_1": 3, "conv2_2": 5, "conv3_1": 8}

    def features(x):
        maps = {}
        for name, position in layers.items():
            if name in ("conv2_1", "conv3_1"):
                x = pool(x, 2)
            w, b = (weights[f"features.{position}.{kind}"] for kind in ("weight", "bias"))
            x = maps[name] = F.relu(F.conv2d(x, w, b, padding=1))
        return maps

    def gram(x):
        flat = x.flatten(2)
        return flat @ flat.transpose(1, 2) / flat.shape[2]

    def loss(value, target):
        error = F.mse_loss(value, target)
        return error / target.square().mean() if relative else error

    content, style, image = (
        torch.as_tensor(x).permute(0, 3, 1, 2) for x in (content, style, image)
    )
    image = image.clone().requires_grad_()
    maps, of_content, of_style = features(image), features(content), features(style)
    down, right = image[:, :, 1:] - image[:, :, :-1], image[..., 1:] - image[..., :-1]
    parts = {
        "content": sum(w * loss(maps[name], of_content[name]) for name, w in CONTENT.items()),
        "style": sum(w * loss(gram(maps[name]), gram(of_style[name])) for name, w in STYLE.items()),
        "variation": down.square().mean() + right.square().mean(),
    }
    sum(PARTS[name] * part for name, part in parts.items()).backward()
    values = {name: part.detach().numpy() for name, part in parts.items()}
    return values, image.grad.permute(0, 2, 3, 1).numpy()


def test_the_published_sums_are_multiples():
    """Equations 1 and 4 of Gatys et al. 2016, equation 4 of Johnson et al. 2016."""
    maps, targets = draw(1, 4, 6, 3), draw(1, 4, 6, 3, seed=1)
    with jax.enable_x64(True):
        content = content_loss({"a": jnp.asarray(maps)}, {"a": jnp.asarray(targets)}, {"a": 1})
        grams = gram_matrices({"a": jnp.asarray(targets)}, {"a": 1})
        style = style_loss({"a": jnp.asarray(maps)}, grams, {"a": 1})
        content, style = np.asarray(content), np.asarray(style)
    assert_close(content[0] * maps.size / 2, np.square(maps - targets).sum() / 2)
    of_maps, of_targets = (
        np.einsum("bhwc,bhwd->cd", x, x).astype(np.float64) for x in (maps, targets)
    )
    squared = np.square(of_maps - of_targets).sum()
    assert_close(style[0] / 4, squared / (4 * 3**2 * 24**2))
    assert_close(style[0], np.square((of_maps - of_targets) / (3 * 24)).sum())


def test_the_average_gram_matrix_of_several_styles_has_the_gradient_of_their_losses():
    with jax.enable_x64(True):
        maps, *styles = (jnp.asarray(draw(1, 3, 4, 2, seed=seed)) for seed in range(3))
        grams = [gram_matrices({"a": style}, {"a": 1})["a"] for style in styles]

        def apart(maps):
            return sum(
                share * style_loss({"a": maps}, {"a": gram}, {"a": 1})[0]
                for share, gram in zip((0.25, 0.75), grams, strict=True)
            )

        def together(maps):
            return style_loss({"a": maps}, {"a": 0.25 * grams[0] + 0.75 * grams[1]}, {"a": 1})[0]

        assert_close(jax.grad(together)(maps), jax.grad(apart)(maps))


def test_each_image_of_a_batch_has_its_own_loss():
    with jax.enable_x64(True):
        images = jnp.asarray(draw(3, 4, 5, 2))
        assert_close(total_variation(images)[1], total_variation(images[1:2])[0])
        grams = gram_matrices({"a": images[:1]}, {"a": 1})
        losses = style_loss({"a": images}, grams, {"a": 1})
        losses = np.asarray(losses)
    assert losses.shape == (3,) and losses[0] == 0 and (losses[1:] > 0).all()


def test_total_variation_of_known_images():
    stripes = jnp.tile(jnp.array([0.0, 1.0]), 3)[None, None, :, None]
    assert total_variation(jnp.tile(stripes, (1, 4, 1, 1)))[0] == 1
    assert total_variation(jnp.full((1, 3, 3, 3), 0.3))[0] == 0
    assert total_variation(jnp.ones((1, 1, 1, 3)))[0] == 0


def test_a_target_of_zeros_gives_a_finite_relative_loss():
    zeros, ones = {"a": jnp.zeros((1, 2, 2, 1))}, {"a": jnp.ones((1, 2, 2, 1))}
    assert content_loss(zeros, zeros, {"a": 1}, relative=True)[0] == 0
    assert not jnp.isnan(content_loss(ones, zeros, {"a": 1}, relative=True)[0])
