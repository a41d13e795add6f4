"""Cells of recurrent networks, and the loop that applies one along the time of sequences.

A cell is what the gates compute, after the products of inputs and state. Gates and their order are
those of PyTorch's `RNN`, `LSTM` and `GRU`. Sequences are [batch, time, channels].

Sources: Elman 1990; Hochreiter and Schmidhuber 1997, with the forget gate of Gers et al. 2000; Cho
et al. 2014, with the reset gate after the product, as PyTorch and cuDNN have it.
"""

from collections.abc import Callable
from typing import NamedTuple, TypeVar

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float, Int, Shaped

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
    i, f, g, o = jnp.split(inputs + hidden, 4, axis=-1)
    if peepholes is not None:
        i, f = i + peepholes[:1] * cell, f + peepholes[1:2] * cell
    cell = jax.nn.sigmoid(f) * cell + jax.nn.sigmoid(i) * jnp.tanh(g)
    if peepholes is not None:
        o = o + peepholes[2:] * cell
    return LSTMState(jax.nn.sigmoid(o) * jnp.tanh(normalize(cell)), cell)


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
    step: Callable[[State, Array], tuple[State, Array]],
    state: State,
    inputs: Sequences,
    lengths: Int[Array, " batch"] | None = None,
    *,
    reverse: bool = False,
) -> tuple[State, Float[Array, "batch time features"]]:
    """Apply a step along the time of a batch of sequences.

    Args:
        step: (state, inputs of a time [batch, channels]) to (next state, output).
        state: before the first step; arrays [batch, …].
        inputs: sequences.
        lengths: of each sequence. Beyond it the state stays as it is, and outputs are 0, as with
            `torch.nn.utils.rnn.pack_padded_sequence`. None means the whole time.
        reverse: from the last step to the first.

    Returns:
        The state after the last step, and the outputs in the order of the inputs.
    """
    time = jnp.arange(inputs.shape[1])

    def masked(state: State, at: tuple[Array, Array]) -> tuple[State, Array]:
        x, now = at
        new, output = step(state, x)
        if lengths is None:
            return new, output
        there = now < lengths

        def keep(new: Array, old: Array) -> Array:
            return jnp.where(there.reshape(-1, *[1] * (new.ndim - 1)), new, old)

        return jax.tree.map(keep, new, state), keep(output, jnp.zeros_like(output))

    state, outputs = lax.scan(masked, state, (inputs.swapaxes(0, 1), time), reverse=reverse)
    return state, outputs.swapaxes(0, 1)
