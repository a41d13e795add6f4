"""The network of airbench94, which reaches 94% on CIFAR-10 in seconds of training.

Source: Jordan 2024, "94% on CIFAR-10 in 3.29 Seconds on a Single GPU", section 3, and
github.com/KellerJordan/cifar10-airbench, `airbench94_muon.py`. The network has 1,971,352 trained
parameters, and 288 values of the whitening convolution, which are computed from data.
"""

from functools import partial

import jax.numpy as jnp
from flax import linen as nn
from flax.linen.dtypes import promote_dtype
from flax.typing import Dtype, PRNGKey, Shape
from jaxtyping import Array, Float

from cnn_jax.errors import ConfigError
from cnn_jax.layers import Conv, conv2d, gelu, max_pool
from cnn_jax.layers.initializers import dirac_init, torch_bias_init, torch_kernel_init
from cnn_jax.models.arrays import Feature, Images, Logits, at_least_float32
from cnn_jax.models.checks import as_num_classes, check_choice, check_images
from cnn_jax.models.classifier import make_classifier
from cnn_jax.models.conv_norm import MakeConv, MakeNorm, Norm, make_norm
from cnn_jax.models.registry import CIFAR, register

PATCH = 2
"""Height and width of the patches whitened by the first convolution."""


class WhiteningConv(nn.Module):
    """2x2 convolution with a fixed kernel and a trained bias.

    The kernel is in the collection `constants`. It is random until it is replaced with
    `layers.whitening_kernel`. It has two filters, one of each sign, for every value of a patch.
    """

    dtype: Dtype | None

    @nn.compact
    def __call__(self, x: Float[Array, "batch height width channels"]) -> Feature:
        values = PATCH * PATCH * x.shape[-1]
        shape = (PATCH, PATCH, x.shape[-1], 2 * values)
        kernel = self.variable(
            "constants", "kernel", lambda: torch_kernel_init(self.make_rng("params"), shape)
        ).value
        bias = self.param("bias", torch_bias_init(values), (2 * values,))
        return conv2d(*promote_dtype(x, kernel, bias, dtype=self.dtype))


class AirbenchBody(nn.Module):
    """Everything before the classifier; returns the maps `stem`, `stage1`, `stage2`, `stage3`."""

    widths: tuple[int, ...]
    conv: MakeConv
    norm: MakeNorm
    dtype: Dtype | None

    @nn.compact
    def __call__(self, images: Images, *, train: bool) -> dict[str, Feature]:
        check_images(images, 2 ** len(self.widths) + PATCH - 1)
        x = gelu(WhiteningConv(self.dtype, name="whiten")(jnp.asarray(images)))
        features = {"stem": x}
        for stage, width in enumerate(self.widths, start=1):
            x = max_pool(self.conv(width, 3, padding=1, name=f"stage{stage}_conv1")(x), 2)
            x = self.norm(name=f"stage{stage}_norm1", activation=gelu)(x, train=train)
            x = self.conv(width, 3, padding=1, name=f"stage{stage}_conv2")(x)
            x = self.norm(name=f"stage{stage}_norm2", activation=gelu)(x, train=train)
            features[f"stage{stage}"] = x
        return features


class Airbench(nn.Module):
    """Images to logits [batch, num_classes], float32 or wider.

    Whitened 2x2 patches and GELU; then for each width 3x3 convolution, 2x2 max pooling, BatchNorm,
    GELU, 3x3 convolution, BatchNorm, GELU; then global max pooling, and a linear layer without bias
    whose output is divided by the number of its inputs. `features` returns the map `stem` of the
    whitened patches, and `stage1`, ….

    Convolutions are initialized as the identity on their first channels (`dirac_init`). BatchNorm
    has no scale. The kernel of the first convolution is not trained: set
    `variables["constants"]["body"]["whiten"]["kernel"]` to `layers.whitening_kernel` of some
    normalized images.

    Attributes:
        widths: number of channels of each pair of convolutions.
        num_classes: number of outputs; 0 or None gives the features before the last layer.
        norm: "frozen" normalizes with the running statistics, also in training.
        dtype: dtype of the body's computation, such as bfloat16; parameters, statistics and
            the classifier stay float32. None is that of input and parameters.

    Raises:
        ConfigError: attributes that make no sense; images that are not [batch, height, width,
            channels] or that are too small for the pooling (9x9 for three widths).
    """

    widths: tuple[int, ...] = (64, 256, 256)
    num_classes: int | None = 10
    norm: Norm = "batch"
    dtype: Dtype | None = None

    def __post_init__(self) -> None:
        self.num_classes = as_num_classes(self.num_classes)
        check_choice("norm", self.norm, ("batch", "frozen"))
        if not self.widths:
            raise ConfigError("widths must name the channels of at least one stage, got ()")
        super().__post_init__()

    def setup(self) -> None:
        conv = partial(Conv, use_bias=False, dtype=self.dtype, kernel_init=dirac_init)
        norm = make_norm(self.norm, use_scale=False, momentum=0.4, eps=1e-12, dtype=self.dtype)
        self.body = AirbenchBody(self.widths, conv, norm, self.dtype)
        self.head = make_classifier(
            self.num_classes, use_bias=False, kernel_init=unit_deviation_init
        )

    def features(self, x: Images, *, train: bool = False) -> dict[str, Feature]:
        """The feature maps, in forward order."""
        return self.body(x, train=train)

    def __call__(self, x: Images, *, train: bool = False) -> Logits:
        *_, last = self.body(x, train=train).values()
        _, height, width, features = last.shape
        last = max_pool(last, (height, width))[:, 0, 0]
        logits = self.head(at_least_float32(last))
        return logits / features if self.num_classes else logits

    @nn.nowrap
    def feature_strides(self) -> dict[str, int]:
        """Stride of each map of `features`, in pixels of the image."""
        stages = {f"stage{number}": 2**number for number in range(1, len(self.widths) + 1)}
        return {"stem": 1} | stages


def unit_deviation_init(key: PRNGKey, shape: Shape, dtype: Dtype = jnp.float32) -> Array:
    """PyTorch's default, divided by the standard deviation of the drawn values."""
    kernel = torch_kernel_init(key, shape, dtype)
    return kernel / jnp.std(kernel, ddof=1)


register("cifar_airbench94", Airbench, CIFAR)
