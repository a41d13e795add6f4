"""Linear (fully connected) layer."""

from flax import linen as nn
from flax.linen.dtypes import promote_dtype
from flax.typing import Dtype, Initializer
from jaxtyping import Array, Float, Shaped

from cnn_jax.layers.arguments import check_axes
from cnn_jax.layers.channels import add_per_channel
from cnn_jax.layers.initializers import torch_bias_init, torch_kernel_init


class Linear(nn.Module):
    """y = x kernel + bias over the last axis, as `torch.nn.Linear`.

    Parameters `kernel` [in, features] (PyTorch's weight, transposed) and `bias` [features].

    Attributes:
        features: number of outputs.
        use_bias: whether a bias is added.
        dtype: dtype of the computation and of the output; None promotes input and parameters.
        kernel_init: initializer of the kernel; default uniform in ±1/sqrt(in).
        bias_init: initializer of the bias; None is uniform in ±1/sqrt(in).
    """

    features: int
    use_bias: bool = True
    dtype: Dtype | None = None
    kernel_init: Initializer = torch_kernel_init
    bias_init: Initializer | None = None

    @nn.compact
    def __call__(self, x: Shaped[Array, "*batch inputs"]) -> Float[Array, "*batch features"]:
        check_axes("*batch inputs", x=x)
        inputs = x.shape[-1]
        kernel = self.param("kernel", self.kernel_init, (inputs, self.features))
        if not self.use_bias:
            x, kernel = promote_dtype(x, kernel, dtype=self.dtype)
            return x @ kernel
        bias = self.param("bias", self.bias_init or torch_bias_init(inputs), (self.features,))
        x, kernel, bias = promote_dtype(x, kernel, bias, dtype=self.dtype)
        return add_per_channel(x @ kernel, bias)
