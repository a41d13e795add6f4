import jax
import jax.numpy as jnp
import numpy as np
import pytest

from cnn_jax.errors import ConfigError
from cnn_jax.models import ResNet, UNet, create_model, predict_tiles
from tests.models.dense import assert_equals_torch, count, drawn, traced
from tests.tolerance import assert_close

# Stride 4: an image loses 40 pixels, and outputs are a multiple of 4.
SMALL = {"widths": (3, 4, 5), "dropout": 0.0, "num_classes": 2}


def test_parameters_and_outputs_of_the_paper():
    """Figure 1: 572x572 pixels in, 388x388 out. The count is that of all PyTorch transcriptions."""
    output, params = traced(create_model("unet", border="valid"), (572, 572, 1))
    assert output == (1, 388, 388, 2) and count(params) == 31_030_658
    _, params = traced(create_model("unet_bn"), (32, 32, 1))
    # Scale and bias in place of the bias of each convolution.
    assert count(params) == 31_030_658 + 2 * (2 * (64 + 128 + 256 + 512) + 1024)


@pytest.mark.parametrize("size", [(1, 1), (2, 3), (33, 50)])
@pytest.mark.parametrize("border", ["mirror", "same"])
def test_the_output_has_the_size_of_the_image(border, size):
    assert traced(UNet(border), (*size, 3))[0] == (1, *size, 2)


def torch_unet(widths, channels, classes):
    """The network of the paper's figure 1, in PyTorch's words."""
    import torch
    from torch import nn
    from torch.nn.functional import relu

    class Double(nn.Module):
        def __init__(self, channels, width):
            super().__init__()
            self.conv1, self.conv2 = nn.Conv2d(channels, width, 3), nn.Conv2d(width, width, 3)

        def forward(self, x):
            return relu(self.conv2(relu(self.conv1(x))))

    class Network(nn.Module):
        def __init__(self):
            super().__init__()
            inputs, pairs = (channels, *widths), list(zip(widths[1:], widths, strict=False))
            self.down = nn.ModuleList(map(Double, inputs, widths))
            self.up = nn.ModuleList(nn.ConvTranspose2d(a, b, 2, stride=2) for a, b in pairs)
            self.conv = nn.ModuleList(Double(2 * b, b) for _, b in pairs)
            self.head = nn.Conv2d(widths[0], classes, 1)

        def forward(self, x):
            skips = []
            for level, double in enumerate(self.down):
                x = double(x if level == 0 else nn.functional.max_pool2d(x, 2))
                skips.append(x)
            for level in reversed(range(len(self.up))):
                x, skip = self.up[level](x), skips[level]
                y, z = ((skip.shape[i] - x.shape[i]) // 2 for i in (2, 3))
                skip = skip[:, :, y : y + x.shape[2], z : z + x.shape[3]]
                x = self.conv[level](torch.cat([skip, x], dim=1))
            return self.head(x)

    return Network()


def names(levels):
    """Our paths by the names of `torch_unet`."""
    pairs = {"head": "head"}
    for level in range(levels):
        for conv in ("conv1", "conv2"):
            pairs[f"down.{level}.{conv}"] = f"backbone/level{level + 1}/{conv}/conv"
            pairs[f"conv.{level}.{conv}"] = f"decoder/conv{level + 1}/{conv}/conv"
        pairs[f"up.{level}"] = f"decoder/up{level + 1}"
    last = f"{levels - 1}"
    pairs = {torch: ours for torch, ours in pairs.items() if not is_missing(torch, last)}
    return {
        f"{torch}.{kind}": f"params/{ours}/{leaf}"
        for torch, ours in pairs.items()
        for kind, leaf in (("weight", "kernel"), ("bias", "bias"))
    }


def is_missing(torch, last):
    return torch == f"up.{last}" or torch.startswith(f"conv.{last}.")


def test_equals_a_transcription_in_pytorch():
    pytest.importorskip("torch", reason="torch is not installed")
    with jax.enable_x64(True):
        images = jnp.asarray(np.random.default_rng(2).normal(size=(2, 52, 60, 2)))
        model = UNet("valid", **SMALL)
        theirs = torch_unet(SMALL["widths"], 2, 2)
        assert_equals_torch(model, drawn(model, images), images, theirs, names(3))


@pytest.fixture(scope="module")
def whole():
    """An image of odd size, variables, and the logits with a mirrored border."""
    with jax.enable_x64(True):
        image = np.random.default_rng(3).normal(size=(31, 45, 2))
        model = UNet("mirror", **SMALL)
        variables = drawn(model, jnp.asarray(image[None]))
        logits = jax.jit(model.apply)(variables, jnp.asarray(image[None]))
    return image, variables, np.asarray(logits[0])


def test_the_border_is_mirrored(whole):
    image, variables, logits = whole
    # 31 and 45 pixels are completed to 32 and 48.
    padded = np.pad(image, ((20, 21), (20, 23), (0, 0)), mode="reflect")
    with jax.enable_x64(True):
        valid = jax.jit(UNet("valid", **SMALL).apply)(variables, jnp.asarray(padded[None]))
    assert valid.shape == (1, 32, 48, 2)
    assert_close(valid[0, :31, :45], logits)


def test_tiles_equal_the_whole_image(whole):
    image, variables, logits = whole
    with jax.enable_x64(True):
        apply = jax.jit(UNet("valid", **SMALL).apply)
        tiles = []

        def predict(tile):
            tiles.append(tile.shape)
            return apply(variables, jnp.asarray(tile))

        assert_close(predict_tiles(predict, image, tile=52, margin=20), logits)
    assert set(tiles) == {(1, 52, 52, 2)} and len(tiles) == 3 * 4


def test_tiles_of_a_network_that_keeps_the_size():
    """A mean over 3x3 pixels needs a margin of one pixel; classes have no channels."""
    image = np.random.default_rng(0).normal(size=(5, 7, 1))

    def predict(x):
        padded = np.pad(x[..., 0], ((0, 0), (1, 1), (1, 1)))
        windows = np.lib.stride_tricks.sliding_window_view(padded, (3, 3), axis=(1, 2))
        return windows.mean((-2, -1)) > 0

    mirrored = np.pad(image[None], ((0, 0), (1, 1), (1, 1), (0, 0)), mode="reflect")
    expected = predict(mirrored)[0, 1:-1, 1:-1]
    for tile, step in ((4, None), (6, 3), (40, None)):
        tiled = predict_tiles(predict, image, tile=tile, margin=1, step=step)
        np.testing.assert_array_equal(tiled, expected)
    single = predict_tiles(lambda x: x, image[:1, :1], tile=3, margin=1)
    np.testing.assert_array_equal(single, image[:1, :1])


def test_any_classifier_is_the_contracting_path():
    """Maps that are not the image's size over their stride are met by resizing."""
    for encoder in ("vgg11_bn", "alexnet", "cifar_resnet20"):
        model = create_model("unet_bn", encoder=encoder, widths=(4, 8, 8, 8, 8), num_classes=3)
        output, params = traced(model, (64, 50, 3))
        assert output == (1, 64, 50, 3) and params["backbone"].keys() == {"body"}
        assert list(model.feature_strides().items())[-1] == ("up1", 1)


@pytest.mark.usefixtures("no_shape_hook")
def test_what_makes_no_sense_is_named():
    with pytest.raises(ConfigError, match="border must be one of 'mirror', .*, got 'full'"):
        UNet("full")
    with pytest.raises(ConfigError, match="set border='same', got 'mirror'"):
        UNet("mirror", encoder="resnet18")
    valid = UNet("valid", **SMALL)
    for size, near in ((10, "pad to 44, or set"), (53, "crop to 52 or pad to 56")):
        with pytest.raises(ConfigError, match=rf"44 \+ n \* 4 pixels.*{size}x{size}; {near}"):
            valid.init(jax.random.key(0), jnp.zeros((1, size, size, 1)))
    deep = UNet("same", encoder=ResNet("imagenet", "basic", (1, 1), (4, 4)), widths=(2,))
    with pytest.raises(ConfigError, match="an encoder of stride 8 needs widths .*, got 1"):
        deep.init(jax.random.key(0), jnp.zeros((1, 8, 8, 3)))
    with pytest.raises(ConfigError, match="between 1 and that, got 3"):
        predict_tiles(np.asarray, np.zeros((4, 4, 1)), tile=4, margin=1, step=3)
    with pytest.raises(ConfigError, match="outputs do not cover 2 pixels of a tile of 4"):
        predict_tiles(lambda x: x[:, 2:, 2:], np.zeros((4, 4, 1)), tile=4, margin=0, step=2)
