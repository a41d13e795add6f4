"""Cells of recurrent networks, and the loop that applies one along the time of sequences.

A cell is what the gates compute, after the products of inputs and state. Gates and their order are
those of PyTorch's `RNN`, `LSTM` and `GRU`. Sequences are [batch, time, channels].

Sources: Elman 1990; Hochreiter and Schmidhuber 1997, with the forget gate of Gers et al. 2000; Cho
et al. 2014, with the reset gate after the product, as PyTorch and cuDNN have it.
"""

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple, TypeVar

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float, Int, Shaped

from cnn_jax.layers.mesh_axes import varying_like

SEQUENCES = "batch time channels"
Sequences = Shaped[Array, SEQUENCES]
State = TypeVar("State")
OfStep = Float[Array, "batch features"]


class LSTMState(NamedTuple):
    """The state of an LSTM.

    Attributes:
        hidden: the output of the last step.
        cell: what the gates keep.
    """

    hidden: OfStep
    cell: OfStep


def rnn_cell(
    inputs: OfStep, hidden: OfStep, activation: Callable[[Array], Array] = jnp.tanh
) -> OfStep:
    """The next state: activation(inputs + hidden), both after their products."""
    return activation(inputs + hidden)


def lstm_cell(
    inputs: Float[Array, "batch gates"],
    hidden: Float[Array, "batch gates"],
    cell: OfStep,
    peepholes: Float[Array, "3 features"] | None = None,
    normalize: Callable[[Array], Array] = lambda cell: cell,
) -> LSTMState:
    """The next state of an LSTM.

    Args:
        inputs: the inputs after their product: input gate, forget gate, candidate, output gate.
        hidden: the state after its product, in the same order.
        cell: the cell before this step.
        peepholes: factors of the cell in the input, forget and output gate, which see it (Gers and
            Schmidhuber 2000).
        normalize: applied to the cell before the output's tanh.
    """
    gates = inputs + hidden
    if peepholes is not None:
        of_input, of_forget, of_output = peepholes[:, None]
        zeros = jnp.zeros_like(cell)
        gates = gates + jnp.concatenate([of_input * cell, of_forget * cell, zeros, zeros], axis=-1)
    # XLA's CPU backend vectorizes a function of the whole array, but not those of four parts.
    i, f, _, o = jnp.split(jax.nn.sigmoid(gates), 4, axis=-1)
    _, _, g, before = jnp.split(gates, 4, axis=-1)
    cell = f * cell + i * jnp.tanh(g)
    if peepholes is not None:
        o = jax.nn.sigmoid(before + of_output * cell)
    return LSTMState(o * jnp.tanh(normalize(cell)), cell)


def gru_cell(
    inputs: Float[Array, "batch gates"], hidden: Float[Array, "batch gates"], state: OfStep
) -> OfStep:
    """The next state of a GRU.

    Args:
        inputs: the inputs after their product: reset gate, update gate, candidate.
        hidden: the state after its product, in the same order.
        state: the state before this step.
    """
    features = state.shape[-1]
    gates = jax.nn.sigmoid(inputs[:, : 2 * features] + hidden[:, : 2 * features])
    reset, update = gates[:, :features], gates[:, features:]
    candidate = jnp.tanh(inputs[:, 2 * features :] + reset * hidden[:, 2 * features :])
    return (1 - update) * candidate + update * state


def recur(
    read: Callable[[Any, State], OfStep],
    kernel: Float[Array, "features gates"],
    step: Callable[[Any, State, Array, Array], tuple[State, Array]],
    constants: Any,
    state: State,
    inputs: Sequences,
    lengths: Int[Array, " batch"] | None = None,
    *,
    reverse: bool = False,
) -> tuple[State, Float[Array, "batch time features"]]:
    """Apply a step along the time of a batch of sequences.

    Each step has a product of the state and the kernel. The gradient of the kernel is one product
    over all steps, after the loop; the derivative of a loop would add up a product in each of them.

    Args:
        read: (constants, state) to what is multiplied by the kernel, [batch, features].
        kernel: of the products.
        step: (constants, state, inputs of a time [batch, channels], product [batch, gates]) to
            (next state, output).
        constants: arrays that every step needs.
        state: before the first step; arrays [batch, …].
        inputs: sequences.
        lengths: of each sequence. Beyond it the state stays as it is, and outputs are 0, as with
            `torch.nn.utils.rnn.pack_padded_sequence`. None means the whole time.
        reverse: from the last step to the first.

    Returns:
        The state after the last step, and the outputs in the order of the inputs.
    """
    loop = partial(_loop, read, step, reverse)
    state, outputs = _apply(loop, kernel, (constants, state, inputs.swapaxes(0, 1)), lengths)
    return state, outputs.swapaxes(0, 1)


@partial(jax.custom_jvp, nondiff_argnums=(0,))
def _apply(loop: Callable[..., Any], kernel: Array, arguments: Any, lengths: Array | None) -> Any:
    result, _ = loop(kernel, arguments, lengths)
    return result


@_apply.defjvp
def _(loop: Callable[..., Any], primals: Any, tangents: Any) -> Any:
    (kernel, arguments, lengths), (kernel_dot, arguments_dot, _) = primals, tangents
    *_, inputs = arguments
    shape = (*inputs.shape[:2], kernel.shape[1])
    zeros = varying_like(jnp.zeros(shape, inputs.dtype), inputs)
    (result, operands), derivative = jax.linearize(
        lambda arguments, added: loop(kernel, arguments, lengths, added), arguments, zeros
    )
    # What a change of the kernel adds to the products of all steps.
    added_dot = jnp.matmul(operands, kernel_dot, preferred_element_type=inputs.dtype)
    result_dot, _ = derivative(arguments_dot, added_dot)
    return result, result_dot


def _loop(
    read: Callable[[Any, Any], Array],
    step: Callable[..., Any],
    reverse: bool,
    kernel: Array,
    arguments: Any,
    lengths: Array | None,
    added: Array | None = None,
) -> Any:
    """The last state and the outputs, and what was multiplied by the kernel, time first."""
    constants, state, inputs = arguments

    def masked(state: Any, at: tuple[Array, Array, Array | None]) -> Any:
        x, now, added = at
        operand = read(constants, state)
        product = jnp.matmul(operand, kernel, preferred_element_type=x.dtype)
        if added is not None:
            product = product + added
        new, output = jax.checkpoint(step, prevent_cse=False)(constants, state, x, product)
        if lengths is None:
            return new, (output, operand)
        there = now < lengths

        def keep(new: Array, old: Array) -> Array:
            return jnp.where(there.reshape(-1, *[1] * (new.ndim - 1)), new, old)

        output = keep(output, jnp.zeros_like(output))
        return jax.tree.map(keep, new, state), (output, operand)

    xs = inputs, jnp.arange(len(inputs)), added
    state, (outputs, operands) = lax.scan(masked, state, xs, reverse=reverse)
    return (state, outputs), operands
