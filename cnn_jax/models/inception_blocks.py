"""The five blocks of Inception v3, each with several parallel branches.

Source: Szegedy et al. 2016 (see `inception.py`), figures 5 to 7 and 10. `conv_block` makes a
convolution with BatchNorm and ReLU. `convolutions` lists their names, which are torchvision's.
`pool` is the pooling before the convolution `branch_pool`.
"""

from collections.abc import Callable
from functools import partial

import jax.numpy as jnp
from flax import linen as nn
from jaxtyping import Array

from cnn_jax.layers import avg_pool, max_pool
from cnn_jax.models.conv_norm import MakeConv

Pool = Callable[[Array], Array]
# Of 3x3 pixels. At the border, the zeros of the padding count in the first one alone.
average_with_zeros = partial(avg_pool, window=3, stride=1, padding=1)
average_inside = partial(avg_pool, window=3, stride=1, padding=1, count_include_pad=False)
maximum = partial(max_pool, window=3, stride=1, padding=1)


class InceptionA(nn.Module, kw_only=True):
    """Figure 5 (35x35 pixels): a 5x5 branch as in GoogLeNet, and one with two 3x3 convolutions."""

    pool_features: int
    conv_block: MakeConv
    pool: Pool = average_with_zeros

    convolutions = (
        "branch1x1",
        "branch5x5_1",
        "branch5x5_2",
        "branch3x3dbl_1",
        "branch3x3dbl_2",
        "branch3x3dbl_3",
        "branch_pool",
    )

    @nn.compact
    def __call__(self, x: Array, *, train: bool) -> Array:
        one = self.conv_block(64, 1, name="branch1x1")(x, train=train)
        five = self.conv_block(48, 1, name="branch5x5_1")(x, train=train)
        five = self.conv_block(64, 5, padding=2, name="branch5x5_2")(five, train=train)
        three = self.conv_block(64, 1, name="branch3x3dbl_1")(x, train=train)
        three = self.conv_block(96, 3, padding=1, name="branch3x3dbl_2")(three, train=train)
        three = self.conv_block(96, 3, padding=1, name="branch3x3dbl_3")(three, train=train)
        pool = self.conv_block(self.pool_features, 1, name="branch_pool")(self.pool(x), train=train)
        return jnp.concatenate([one, five, three, pool], axis=-1)


class InceptionB(nn.Module, kw_only=True):
    """Figure 10: halves the size by strided convolutions and pooling in parallel."""

    conv_block: MakeConv

    convolutions = ("branch3x3", "branch3x3dbl_1", "branch3x3dbl_2", "branch3x3dbl_3")

    @nn.compact
    def __call__(self, x: Array, *, train: bool) -> Array:
        three = self.conv_block(384, 3, stride=2, name="branch3x3")(x, train=train)
        double = self.conv_block(64, 1, name="branch3x3dbl_1")(x, train=train)
        double = self.conv_block(96, 3, padding=1, name="branch3x3dbl_2")(double, train=train)
        double = self.conv_block(96, 3, stride=2, name="branch3x3dbl_3")(double, train=train)
        return jnp.concatenate([three, double, max_pool(x, 3, 2)], axis=-1)


class InceptionC(nn.Module, kw_only=True):
    """Figure 6 (17x17 pixels): 7x7 kernels as 1x7 and 7x1, with `width` channels between them."""

    width: int
    conv_block: MakeConv
    pool: Pool = average_with_zeros

    convolutions = (
        "branch1x1",
        *(f"branch7x7_{i}" for i in range(1, 4)),
        *(f"branch7x7dbl_{i}" for i in range(1, 6)),
        "branch_pool",
    )

    @nn.compact
    def __call__(self, x: Array, *, train: bool) -> Array:
        row = partial(self.conv_block, kernel_size=(1, 7), padding=(0, 3))
        column = partial(self.conv_block, kernel_size=(7, 1), padding=(3, 0))
        one = self.conv_block(192, 1, name="branch1x1")(x, train=train)
        seven = self.conv_block(self.width, 1, name="branch7x7_1")(x, train=train)
        seven = row(self.width, name="branch7x7_2")(seven, train=train)
        seven = column(192, name="branch7x7_3")(seven, train=train)
        double = self.conv_block(self.width, 1, name="branch7x7dbl_1")(x, train=train)
        double = column(self.width, name="branch7x7dbl_2")(double, train=train)
        double = row(self.width, name="branch7x7dbl_3")(double, train=train)
        double = column(self.width, name="branch7x7dbl_4")(double, train=train)
        double = row(192, name="branch7x7dbl_5")(double, train=train)
        pool = self.conv_block(192, 1, name="branch_pool")(self.pool(x), train=train)
        return jnp.concatenate([one, seven, double, pool], axis=-1)


class InceptionD(nn.Module, kw_only=True):
    """`InceptionB` with a 1x7 and a 7x1 convolution before one of the strided convolutions."""

    conv_block: MakeConv

    convolutions = (
        "branch3x3_1",
        "branch3x3_2",
        *(f"branch7x7x3_{i}" for i in range(1, 5)),
    )

    @nn.compact
    def __call__(self, x: Array, *, train: bool) -> Array:
        three = self.conv_block(192, 1, name="branch3x3_1")(x, train=train)
        three = self.conv_block(320, 3, stride=2, name="branch3x3_2")(three, train=train)
        seven = self.conv_block(192, 1, name="branch7x7x3_1")(x, train=train)
        seven = self.conv_block(192, (1, 7), padding=(0, 3), name="branch7x7x3_2")(
            seven, train=train
        )
        seven = self.conv_block(192, (7, 1), padding=(3, 0), name="branch7x7x3_3")(
            seven, train=train
        )
        seven = self.conv_block(192, 3, stride=2, name="branch7x7x3_4")(seven, train=train)
        return jnp.concatenate([three, seven, max_pool(x, 3, 2)], axis=-1)


class InceptionE(nn.Module, kw_only=True):
    """Figure 7 (8x8 pixels): 1x3 and 3x1 convolutions in parallel."""

    conv_block: MakeConv
    pool: Pool = average_with_zeros

    convolutions = (
        "branch1x1",
        "branch3x3_1",
        "branch3x3_2a",
        "branch3x3_2b",
        "branch3x3dbl_1",
        "branch3x3dbl_2",
        "branch3x3dbl_3a",
        "branch3x3dbl_3b",
        "branch_pool",
    )

    @nn.compact
    def __call__(self, x: Array, *, train: bool) -> Array:
        row = partial(self.conv_block, features=384, kernel_size=(1, 3), padding=(0, 1))
        column = partial(self.conv_block, features=384, kernel_size=(3, 1), padding=(1, 0))
        one = self.conv_block(320, 1, name="branch1x1")(x, train=train)
        three = self.conv_block(384, 1, name="branch3x3_1")(x, train=train)
        threes = [
            row(name="branch3x3_2a")(three, train=train),
            column(name="branch3x3_2b")(three, train=train),
        ]
        double = self.conv_block(448, 1, name="branch3x3dbl_1")(x, train=train)
        double = self.conv_block(384, 3, padding=1, name="branch3x3dbl_2")(double, train=train)
        doubles = [
            row(name="branch3x3dbl_3a")(double, train=train),
            column(name="branch3x3dbl_3b")(double, train=train),
        ]
        pool = self.conv_block(192, 1, name="branch_pool")(self.pool(x), train=train)
        return jnp.concatenate([one, *threes, *doubles, pool], axis=-1)
