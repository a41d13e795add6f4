"""Initialization of convolutions and linear layers: PyTorch's default, and He's for ReLU.

PyTorch's kernel and bias are uniform in ±1/sqrt(fan_in) (`torch.nn.Linear.reset_parameters`,
`torch.nn.modules.conv._ConvNd.reset_parameters`).
"""

import math

import jax
import jax.numpy as jnp
from flax import linen as nn
from flax.typing import Dtype, Initializer, PRNGKey, Shape

# variance 1 / (3 fan_in) is that of the uniform distribution in ±1/sqrt(fan_in).
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
