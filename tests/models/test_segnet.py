import jax
import jax.numpy as jnp
import numpy as np
import pytest

from cnn_jax.errors import ConfigError
from cnn_jax.models import SegNet, create_model
from tests.models.dense import assert_equals_torch, count, drawn, traced

UPSAMPLINGS = ("max_unpool", "bilinear", "nearest", "bed_of_nails", "transposed")
SIZES, WIDTHS, CLASSES = (1, 2), (3, 4), 5


@pytest.mark.parametrize("upsampling", UPSAMPLINGS)
@pytest.mark.parametrize("size", [(1, 1), (33, 50)])
def test_the_output_has_the_size_of_the_image(upsampling, size):
    model = create_model("segnet", upsampling=upsampling)
    output, params = traced(model, (*size, 3))
    assert output == (1, *size, 11)
    # VGG-16's convolutions with BatchNorm, their mirror, and 3x3 to 11 classes.
    transposed = sum(4 * width * width + width for width in (64, 128, 256, 512, 512))
    assert count(params) == 29_449_355 + (transposed if upsampling == "transposed" else 0)


def test_the_encoder_is_vgg_s():
    images = jnp.zeros((1, 32, 32, 3))
    vgg = jax.eval_shape(create_model("vgg16_bn").init, jax.random.key(0), images)
    segnet = jax.eval_shape(create_model("segnet").init, jax.random.key(0), images)
    for collection in ("params", "batch_stats"):
        assert segnet[collection]["backbone"]["body"] == vgg[collection]["body"]


def torch_segnet(upsampling):
    """SegNet in PyTorch's words, with any of the ways to make a map larger."""
    from torch import nn
    from torch.nn.functional import interpolate, max_pool2d, max_unpool2d, relu

    class Block(nn.Module):
        def __init__(self, channels, width):
            super().__init__()
            self.conv, self.norm = nn.Conv2d(channels, width, 3, padding=1), nn.BatchNorm2d(width)

        def forward(self, x):
            return relu(self.norm(self.conv(x)))

    class Network(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv1_1, self.conv2_1, self.conv2_2 = Block(3, 3), Block(3, 4), Block(4, 4)
            self.up2_2, self.up2_1 = Block(4, 4), Block(4, 3)
            self.head = nn.Conv2d(3, CLASSES, 3, padding=1)
            if upsampling == "transposed":
                self.larger1 = nn.ConvTranspose2d(3, 3, 2, stride=2)
                self.larger2 = nn.ConvTranspose2d(4, 4, 2, stride=2)

        def larger(self, stage, x, indices, size):
            if upsampling == "max_unpool":
                return max_unpool2d(x, indices, 2, output_size=size)
            if upsampling == "bilinear":
                return interpolate(x, size=size, mode="bilinear", align_corners=False)
            if upsampling == "nearest":
                return interpolate(x, size=size, mode="nearest")
            if upsampling == "transposed":
                x = getattr(self, f"larger{stage}")(x)
            else:
                nails = x.new_zeros((*x.shape[:2], 2 * x.shape[2], 2 * x.shape[3]))
                nails[:, :, ::2, ::2] = x
                x = nails
            return x[:, :, : size[0], : size[1]]

        def forward(self, x):
            places = []
            for convs in ((self.conv1_1,), (self.conv2_1, self.conv2_2)):
                for conv in convs:
                    x = conv(x)
                size = x.shape[2:]
                x, indices = max_pool2d(x, 2, ceil_mode=True, return_indices=True)
                places.append((indices, size))
            x = self.up2_1(self.up2_2(self.larger(2, x, *places[1])))
            return self.head(self.larger(1, x, *places[0]))

    return Network()


def names(upsampling):
    """Our paths by the names of `torch_segnet`."""
    pairs = {}
    for conv in ("1_1", "2_1", "2_2"):
        pairs[f"conv{conv}.conv"] = f"backbone/body/conv{conv}"
        pairs[f"conv{conv}.norm"] = f"backbone/body/norm{conv}"
    for conv in ("2_1", "2_2"):
        for layer in ("conv", "norm"):
            pairs[f"up{conv}.{layer}"] = f"decoder/conv{conv}/{layer}"
    if upsampling == "transposed":
        pairs |= {f"larger{stage}": f"decoder/up{stage}/conv" for stage in (1, 2)}
    found = {}
    for torch, ours in (pairs | {"head": "head"}).items():
        found[f"{torch}.bias"] = f"params/{ours}/bias"
        if torch.endswith("norm"):
            found[f"{torch}.weight"] = f"params/{ours}/scale"
            found[f"{torch}.running_mean"] = f"batch_stats/{ours}/mean"
            found[f"{torch}.running_var"] = f"batch_stats/{ours}/var"
        else:
            found[f"{torch}.weight"] = f"params/{ours}/kernel"
    return found


@pytest.mark.parametrize("upsampling", UPSAMPLINGS)
def test_equals_a_transcription_in_pytorch(upsampling):
    """In training, with an image whose sides are odd before both poolings."""
    pytest.importorskip("torch", reason="torch is not installed")
    with jax.enable_x64(True):
        images = jnp.asarray(np.random.default_rng(2).normal(size=(2, 9, 13, 3)))
        model = SegNet(upsampling, SIZES, WIDTHS, CLASSES)
        theirs, pairs = torch_segnet(upsampling), names(upsampling)
        assert_equals_torch(model, drawn(model, images), images, theirs, pairs, train=True)


@pytest.mark.usefixtures("no_shape_hook")
def test_what_makes_no_sense_is_named():
    with pytest.raises(ConfigError, match="must be one of 'max_unpool', .*, got 'cubic'"):
        SegNet("cubic")
    with pytest.raises(ConfigError, match=r"expected images as .*, got shape \(9, 9, 3\)"):
        SegNet().init(jax.random.key(0), jnp.zeros((9, 9, 3)))
