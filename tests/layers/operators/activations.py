"""Activation functions."""

from cnn_jax import layers
from tests.layers.parity import Operator


def sample(draw):
    x = draw.choice((1, 30, 1e4)) * draw.array(3, 4)
    x[0, 0] = 0  # where a derivative may jump
    return (x,), {}


def sample_with(name, values):
    """Cases with a setting of that name."""

    def sample_setting(draw):
        inputs, _ = sample(draw)
        return inputs, {name: draw.choice(values)}

    return sample_setting


def of_torch(name):
    def function(x, **settings):
        from torch.nn import functional

        return getattr(functional, name)(x, **settings)

    return function


def torch_gelu(x, approximate):
    from torch.nn.functional import gelu

    return gelu(x, approximate="tanh" if approximate else "none")


PLAIN = ("sigmoid", "tanh", "relu", "selu", "silu", "softplus")
OPERATORS = (
    *(Operator(name, sample, getattr(layers, name), of_torch(name)) for name in PLAIN),
    Operator(
        "leaky_relu",
        sample_with("negative_slope", (0.01, 0.2, 0.0)),
        layers.leaky_relu,
        of_torch("leaky_relu"),
    ),
    Operator("elu", sample_with("alpha", (1.0, 0.3, 2.0)), layers.elu, of_torch("elu")),
    Operator("gelu", sample_with("approximate", (False, True)), layers.gelu, torch_gelu),
)
