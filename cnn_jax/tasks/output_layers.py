"""Output layers turn the outputs of a model into predictions.

Models end in a linear layer, and losses take its outputs directly, which is numerically stable. The
output layer is applied after training. Each output layer belongs to the losses whose
maximum-likelihood estimate it gives:

| output layer | prediction | losses |
| --- | --- | --- |
| `identity` | the expected value | squared, absolute, Huber |
| `sigmoid` | P(y = +1) of each output | logistic, binary cross entropy |
| `softmax` | P(y = k) of every class | softmax cross entropy |
| `decision` | the class | all losses of several classes, including hinge |
"""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from cnn_jax.layers.arguments import check_axes


def identity(outputs: Float[Array, "*shape"]) -> Float[Array, "*shape"]:
    """The outputs themselves: what a regression predicts."""
    return outputs


def sigmoid(outputs: Float[Array, "*shape"]) -> Float[Array, "*shape"]:
    """1 / (1 + exp(-f)): the probability of y = +1 for each output."""
    return jax.nn.sigmoid(outputs)


def softmax(
    outputs: Float[Array, "batch *space classes"],
) -> Float[Array, "batch *space classes"]:
    """exp(f_k) / sum_j exp(f_j): the probability of each class."""
    check_axes("batch *space classes", outputs=outputs)
    return jax.nn.softmax(outputs)


def decision(outputs: Float[Array, "batch *space classes"]) -> Int[Array, "batch *space"]:
    """The class of the largest output, the first of equal ones.

    It is also the class of the largest sigmoid or softmax, which preserve the order.
    """
    check_axes("batch *space classes", outputs=outputs)
    return jnp.argmax(outputs, axis=-1)
