"""Initialization of convolutions and linear layers: PyTorch's default, He's, the identity.

PyTorch's kernel and bias are uniform in ±1/sqrt(fan_in) (`torch.nn.Linear.reset_parameters`,
`torch.nn.modules.conv._ConvNd.reset_parameters`).
"""

import math

import jax
import jax.numpy as jnp
from flax import linen as nn
from flax.typing import Dtype, Initializer, PRNGKey, Shape

# The uniform distribution in ±1/sqrt(fan_in) has the variance 1 / (3 fan_in).
torch_kernel_init: Initializer = nn.initializers.variance_scaling(1 / 3, "fan_in", "uniform")

# He et al. 2015, "Delving Deep into Rectifiers", section 2.2, backward: normal with variance
# 2 / fan_out, as `torch.nn.init.kaiming_normal_(mode="fan_out")`.
he_kernel_init: Initializer = nn.initializers.variance_scaling(2.0, "fan_out", "normal")


def torch_bias_init(fan_in: int) -> Initializer:
    """Initializer of the bias that goes with a kernel of `fan_in` inputs for each output."""
    bound = 1 / math.sqrt(fan_in)

    def initialize(key: PRNGKey, shape: Shape, dtype: Dtype = jnp.float32) -> jax.Array:
        return jax.random.uniform(key, shape, dtype, -bound, bound)

    return initialize


def dirac_init(key: PRNGKey, shape: Shape, dtype: Dtype = jnp.float32) -> jax.Array:
    """Kernel of a convolution that copies its input channels and has random features beside them.

    Feature i is input channel i, as in `torch.nn.init.dirac_`. If there are more features than
    channels, the others have PyTorch's default initialization. Sources: Jordan 2024, "94% on
    CIFAR-10 in 3.29 Seconds on a Single GPU", "Identity initialization"; Zagoruyko and Komodakis
    2017, "DiracNets".

    Args:
        key: random key of the other features.
        shape: (height, width, channels, features); one group, and padding that keeps the size.
        dtype: dtype of the kernel.
    """
    height, width, channels, features = shape
    passed = min(channels, features)
    kernel = torch_kernel_init(key, shape, dtype).at[..., :passed].set(0)
    same = jnp.arange(passed)
    return kernel.at[height // 2, width // 2, same, same].set(1)
