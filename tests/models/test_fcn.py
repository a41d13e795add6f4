from itertools import pairwise

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax.traverse_util import flatten_dict

from cnn_jax.errors import ConfigError
from cnn_jax.models import FCN, VGG, create_model
from cnn_jax.models.fcn import bilinear_init, from_vgg, upsample
from tests.models.dense import assert_equals_torch, count, drawn, traced
from tests.tolerance import assert_close

# VGG-16 with its linear layers as convolutions, and the scores of 21 classes.
PARAMETERS = {"fcn32s": 134_346_581, "fcn16s": 134_357_354, "fcn8s": 134_362_751}
BODY = {"stage_sizes": (1, 1, 1, 1, 1), "widths": (2, 3, 4, 5, 6), "hidden": (7, 8)}
SMALL = {"hidden": (7, 8), "num_classes": 3, "dropout": 0.0}


@pytest.mark.parametrize("name", PARAMETERS)
def test_parameters(name):
    assert count(traced(create_model(name), (33, 33, 3))[1]) == PARAMETERS[name]
    learned = traced(create_model(name, learned_upsampling=True), (33, 33, 3))[1]
    skips = create_model(name).skips
    assert count(learned) == PARAMETERS[name] + skips * 4 * 4 * 21 * 21


@pytest.mark.parametrize("size", [(1, 1), (33, 50)])
@pytest.mark.parametrize("alignment", ["same", "original"])
def test_the_output_has_the_size_of_the_image(alignment, size):
    for name in PARAMETERS:
        model = create_model(name, alignment=alignment)
        assert traced(model, (*size, 3))[0] == (1, *size, 21)


def torch_fcn(skips, classes):
    """The authors' networks, layer by layer: padding of 100 pixels, and crops."""
    import torch
    from torch import nn
    from torch.nn.functional import conv_transpose2d, max_pool2d, relu

    def bilinear(x, factor):
        ramp = torch.arange(2 * factor, dtype=x.dtype)
        line = 1 - (ramp - (factor - 0.5)).abs() / factor
        kernel = (line[:, None] * line[None, :]).expand(classes, 1, -1, -1)
        return conv_transpose2d(x, kernel, stride=factor, groups=classes)

    def crop(x, offset, like):
        height, width = like.shape[2:]
        return x[:, :, offset : offset + height, offset : offset + width]

    class Network(nn.Module):
        def __init__(self):
            super().__init__()
            widths = (3, *BODY["widths"])
            self.conv = nn.ModuleList(
                nn.Conv2d(a, b, 3, padding=100 if i == 0 else 1)
                for i, (a, b) in enumerate(pairwise(widths))
            )
            self.fc6, self.fc7 = nn.Conv2d(widths[-1], 7, 7), nn.Conv2d(7, 8, 1)
            self.score_fr = nn.Conv2d(8, classes, 1)
            if skips > 0:
                self.score_pool4 = nn.Conv2d(widths[4], classes, 1)
            if skips > 1:
                self.score_pool3 = nn.Conv2d(widths[3], classes, 1)

        def forward(self, image):
            pools, x = [], image
            for conv in self.conv:
                x = max_pool2d(relu(conv(x)), 2, ceil_mode=True)
                pools.append(x)
            x = self.score_fr(relu(self.fc7(relu(self.fc6(x)))))
            if skips == 0:
                return crop(bilinear(x, 32), 19, image)
            x = bilinear(x, 2)
            x = x + crop(self.score_pool4(pools[3]), 5, x)
            if skips == 1:
                return crop(bilinear(x, 16), 27, image)
            x = bilinear(x, 2)
            x = x + crop(self.score_pool3(pools[2]), 9, x)
            return crop(bilinear(x, 8), 31, image)

    return Network()


def names(skips):
    """Our paths by the names of `torch_fcn`."""
    pairs = {f"conv.{i}": f"backbone/body/conv{i + 1}_1" for i in range(5)}
    pairs |= {"fc6": "head/fc6", "fc7": "head/fc7", "score_fr": "head/score"}
    pairs |= {f"score_pool{4 - i}": f"scores_{i}" for i in range(skips)}
    return {
        f"{torch}.{kind}": f"params/{ours}/{leaf}"
        for torch, ours in pairs.items()
        for kind, leaf in (("weight", "kernel"), ("bias", "bias"))
    }


@pytest.mark.parametrize("skips", [0, 1, 2])
def test_equals_the_authors_networks_in_pytorch(skips):
    pytest.importorskip("torch", reason="torch is not installed")
    with jax.enable_x64(True):
        images = jnp.asarray(np.random.default_rng(2).normal(size=(1, 11, 14, 3)))
        model = FCN(skips, VGG(**BODY, ceil_mode=True), alignment="original", **SMALL)
        variables = drawn(model, images)
        assert_equals_torch(model, variables, images, torch_fcn(skips, 3), names(skips))


def test_upsampling_is_bilinear_and_learned_upsampling_begins_so():
    with jax.enable_x64(True):
        x = jnp.asarray(np.random.default_rng(0).normal(size=(1, 5, 6, 2)))
        for factor in (2, 8):
            larger = upsample(x, factor, factor // 2)
            assert larger.shape == (1, 5 * factor, 6 * factor, 2)
            inside = slice(factor // 2, -(factor // 2))
            expected = jax.image.resize(x, larger.shape, "linear")[:, inside, inside]
            assert_close(larger[:, inside, inside], expected)
        images = jnp.asarray(np.random.default_rng(1).normal(size=(1, 33, 40, 3)))
        fixed = FCN(2, VGG(**BODY), **SMALL)
        learned = fixed.clone(learned_upsampling=True)
        variables = drawn(fixed, images)
        ups = {"kernel": bilinear_init(jax.random.key(0), (4, 4, 3, 3), jnp.float64)}
        params = variables["params"] | {"ups_0": ups, "ups_1": ups}
        apply = [jax.jit(model.apply) for model in (fixed, learned)]
        assert_close(apply[1]({"params": params}, images), apply[0](variables, images))


def test_linear_layers_of_vgg_become_convolutions():
    """In the middle of the map, the 7x7 convolution sees what the linear layer sees."""
    body = {"stage_sizes": (1, 1), "widths": (2, 3), "hidden": (5, 6), "num_classes": 0}
    vgg, images = VGG(**body), jax.random.normal(jax.random.key(0), (2, 28, 28, 3))
    variables = vgg.init(jax.random.key(1), images)
    model = FCN(0, vgg, hidden=(5, 6), num_classes=6)
    params = from_vgg(variables)
    params["head"]["score"] = {"kernel": jnp.eye(6)[None, None], "bias": jnp.zeros(6)}
    assert flatten_dict(params).keys() == flatten_dict(traced(model, (28, 28, 3))[1]).keys()

    def scores(model, x):
        return model.head(model.features(x)["stage2"], train=False)

    map_ = model.apply({"params": params}, images, method=scores)
    assert map_.shape == (2, 7, 7, 6)
    assert_close(map_[:, 3, 3], vgg.apply(variables, images), rtol=1e-5, atol=1e-6)


def test_any_classifier_is_an_encoder():
    for encoder in ("resnet18", "alexnet", "googlenet", "cifar_resnet20"):
        model = create_model("fcn8s", encoder=encoder, hidden=(), num_classes=4)
        output, params = traced(model, (64, 50, 3))
        assert output == (1, 64, 50, 4) and params["backbone"].keys() == {"body"}


@pytest.mark.usefixtures("no_shape_hook")
def test_what_makes_no_sense_is_named():
    with pytest.raises(ConfigError, match="skips must be 0, 1 or 2, got 3"):
        FCN(3)
    with pytest.raises(ConfigError, match="needs classes: set num_classes"):
        create_model("fcn8s", num_classes=0)
    images = jnp.zeros((1, 9, 9, 3))
    few = FCN(1, VGG((1,), (2,), hidden=None), hidden=())
    with pytest.raises(ConfigError, match=r"strides \[2, 1, 0\], and VGG has none of \[0\]"):
        FCN(2, VGG((1,), (2,), hidden=None), hidden=()).init(jax.random.key(0), images)
    assert traced(few, (9, 9, 3))[0] == (1, 9, 9, 21)
    with pytest.raises(ConfigError, match="unknown attribute 'ceil_mode' of model 'resnet18'"):
        create_model("fcn8s", encoder="resnet18", alignment="original").init(
            jax.random.key(0), images
        )
