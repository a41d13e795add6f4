import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn

from cnn_jax.layers import Conv, ConvTranspose, Linear
from cnn_jax.models import create_model, example_shape
from cnn_jax.models.summary import tabulate

# torchvision's own figures (0.28, `num_params` and `_ops` of each model's weights); without the
# auxiliary classifier of Inception v3, which its `num_params` holds.
COUNTS = {
    "alexnet": (61_100_840, 0.714),
    "vgg11": (132_863_336, 7.609),
    "vgg13": (133_047_848, 11.308),
    "vgg16": (138_357_544, 15.470),
    "vgg19": (143_667_240, 19.632),
    "googlenet": (6_624_904, 1.498),
    "resnet18": (11_689_512, 1.814),
    "resnet34": (21_797_672, 3.664),
    "resnet50": (25_557_032, 4.089),
    "resnet101": (44_549_160, 7.801),
    "resnet152": (60_192_808, 11.514),
    "resnext50_32x4d": (25_028_904, 4.23),
    "resnext101_32x8d": (88_791_336, 16.414),
    "wide_resnet50_2": (68_883_240, 11.398),
    "wide_resnet101_2": (126_886_696, 22.753),
    "densenet121": (7_978_856, 2.834),
    "inception_v3": (23_834_568, 5.713),
}


@pytest.mark.parametrize("name", COUNTS)
def test_counts_are_torchvisions(name):
    rows = tabulate(create_model(name), example_shape(name))
    parameters, giga_macs = COUNTS[name]
    assert sum(row.parameters for row in rows) == parameters
    assert round(sum(row.macs for row in rows) / 1e9, 3) == giga_macs


class Inner(nn.Module):
    @nn.compact
    def __call__(self, x):
        return {"first": Conv(6, (3, 1), 2, padding=1, groups=2, name="conv")(x), "last": x}


class Small(nn.Module):
    def setup(self):
        self.inner = Inner()
        self.up = ConvTranspose(3, 2, 2)
        self.twice = Linear(5, use_bias=False)
        self.scale = self.param("scale", nn.initializers.ones, (7,))

    def __call__(self, x):
        x = self.up(self.inner(x)["first"])
        x = jnp.pad(x, ((0, 0), (0, 0), (0, 0), (0, 2)))
        return self.twice(self.twice(x))


def test_layers_are_listed_in_the_order_of_their_calls_and_counted_by_hand():
    # The convolution, 3x1 with stride 2: 5x7 pixels padded by 1 give 3x5 places.
    rows = {row.path: row for row in tabulate(Small(), (5, 7, 4))}
    assert list(rows) == ["", "inner", "inner/conv", "up", "twice"]
    assert [row.kind for row in rows.values()] == [
        "Small",
        "Inner",
        "Conv",
        "ConvTranspose",
        "Linear",
    ]
    assert rows["inner"].output_shape == (5, 7, 4)  # the last of its maps
    assert rows["inner/conv"].output_shape == (3, 5, 6)
    assert rows["inner/conv"].parameters == 3 * 1 * 2 * 6 + 6
    assert rows["inner/conv"].macs == 3 * 5 * (3 * 1 * 2 * 6)
    assert rows["up"].output_shape == (6, 10, 3)
    assert rows["up"].macs == 3 * 5 * (2 * 2 * 3 * 6)
    # Called twice, with parameters once.
    assert rows["twice"].parameters == 5 * 5
    assert rows["twice"].macs == 2 * (6 * 10 * 5 * 5)
    assert rows[""].parameters == 7 and rows[""].macs == 0


def test_what_is_not_listed_is_counted_above_it():
    model = create_model("cifar_resnet20")
    every = tabulate(model, (32, 32, 3))
    variables = jax.eval_shape(model.init, jax.random.key(0), np.zeros((1, 32, 32, 3), np.float32))
    size = sum(leaf.size for leaf in jax.tree.leaves(variables["params"]))
    for depth, count in ((1, 3), (2, 3 + 2 + 9), (3, len(every)), (9, len(every))):
        rows = tabulate(model, (32, 32, 3), depth=depth)
        assert len(rows) == count
        assert sum(row.parameters for row in rows) == size == 269_722
        assert sum(row.macs for row in rows) == sum(row.macs for row in every)
    assert [row.path for row in tabulate(model, (32, 32, 3), depth=1)] == ["", "body", "head"]
