"""Recurrent layers: a state that every step of a sequence reads and writes.

Sequences are [batch, time, channels]. What the inputs give to the gates is one product over all
steps, computed before the loop; the cells (`recurrent_cells`) add what the state gives. There are
two biases, as in `torch.nn.RNN`, `LSTM` and `GRU`, so that their weights can be loaded. The state
is float32 or wider.
"""

from collections.abc import Sequence
from functools import partial
from typing import Any, Literal

import jax
import jax.numpy as jnp
from flax import linen as nn
from flax.linen.dtypes import promote_dtype
from flax.typing import Dtype
from jaxtyping import Array, Float, Int

from cnn_jax.errors import ConfigError
from cnn_jax.layers.activations import relu
from cnn_jax.layers.arguments import as_float, check_axes, wide
from cnn_jax.layers.channels import add_per_channel
from cnn_jax.layers.dropout import Dropout, dropout
from cnn_jax.layers.initializers import torch_bias_init
from cnn_jax.layers.mesh_axes import varying_like
from cnn_jax.layers.normalization import layer_norm
from cnn_jax.layers.recurrent_cells import (
    SEQUENCES,
    LSTMState,
    Sequences,
    gru_cell,
    lstm_cell,
    recur,
    rnn_cell,
)

Cell = Literal["tanh", "relu", "lstm", "gru"]
Norm = tuple[Array, Array] | None
"""Scale and bias of a layer normalization; None is none."""
GATES: dict[Cell, int] = {"tanh": 1, "relu": 1, "lstm": 4, "gru": 3}


class Recurrence(nn.Module):
    """One recurrent layer in one direction.

    Parameters, with g gates: `input_kernel` [channels, g * features], `hidden_kernel` [features,
    g * features], `input_bias` and `hidden_bias` [g * features], `peepholes` [3, features], and the
    layer normalizations `input_norm`, `hidden_norm` and `cell_norm` (Ba et al. 2016, section 3.1).

    Attributes: see `LSTM`.
    """

    cell: Cell
    features: int
    reverse: bool = False
    peepholes: bool = False
    layer_norm: bool = False
    variational_dropout: float = 0.0
    dtype: Dtype | None = None

    @nn.compact
    def __call__(
        self, x: Sequences, state: Any, lengths: Array | None, *, train: bool
    ) -> tuple[Any, Array]:
        width, init = GATES[self.cell] * self.features, torch_bias_init(self.features)
        input_kernel = self.param("input_kernel", init, (x.shape[-1], width))
        hidden_kernel = self.param("hidden_kernel", init, (self.features, width))
        biases = [self.param(f"{name}_bias", init, (width,)) for name in ("input", "hidden")]
        x = self._vary(x, train)
        x, input_kernel, hidden_kernel, *biases = promote_dtype(
            x, input_kernel, hidden_kernel, *biases, dtype=self.dtype
        )
        dtype = wide(x)
        input_bias, hidden_bias = (bias.astype(dtype) for bias in biases)
        norms = {name: self._norm(name) for name in ("input", "hidden", "cell")}
        # Time first, as the loop needs it.
        inputs = jnp.matmul(x.swapaxes(0, 1), input_kernel, preferred_element_type=dtype)
        inputs = add_per_channel(_normalized(inputs, norms["input"]), input_bias).swapaxes(0, 1)
        if self.cell != "gru":
            # Outside of the loop, where its gradient is one sum.
            inputs, hidden_bias = add_per_channel(inputs, hidden_bias), None
        if state is None:
            state = self._zeros(x, dtype)
        state = jax.tree.map(lambda of: varying_like(of.astype(dtype), x), state)
        constants = {
            "bias": hidden_bias,
            "peepholes": self._peepholes(),
            # Drawn once, so that a feature is dropped in all steps of a sequence.
            "mask": self._vary(jnp.ones((len(x), 1, self.features), dtype), train)[:, 0],
            **norms,
        }

        def read(constants: Any, state: Any) -> Array:
            output = state.hidden if self.cell == "lstm" else state
            return (output * constants["mask"]).astype(x.dtype)

        def step(constants: Any, state: Any, inputs: Array, product: Array) -> tuple[Any, Array]:
            hidden = _normalized(product, constants["hidden"])
            if self.cell == "lstm":
                normalize = partial(_normalized, norm=constants["cell"])
                state = lstm_cell(inputs, hidden, state.cell, constants["peepholes"], normalize)
                return state, state.hidden
            if self.cell == "gru":
                state = gru_cell(inputs, add_per_channel(hidden, constants["bias"]), state)
            else:
                state = rnn_cell(inputs, hidden, jnp.tanh if self.cell == "tanh" else relu)
            return state, state

        state, outputs = recur(
            read, hidden_kernel, step, constants, state, inputs, lengths, reverse=self.reverse
        )
        return state, outputs.astype(x.dtype)

    def _peepholes(self) -> Array | None:
        zeros = nn.initializers.zeros_init()
        return self.param("peepholes", zeros, (3, self.features)) if self.peepholes else None

    def _zeros(self, x: Array, dtype: Any) -> Any:
        zeros = jnp.zeros((len(x), self.features), dtype)
        return LSTMState(zeros, zeros) if self.cell == "lstm" else zeros

    def _vary(self, x: Array, train: bool) -> Array:
        """Drop channels of whole sequences (Gal and Ghahramani 2016)."""
        if not train or not self.variational_dropout:
            return as_float(x)
        kept = jnp.ones((len(x), 1, x.shape[-1]), as_float(x).dtype)
        return x * dropout(self.make_rng("dropout"), kept, self.variational_dropout, train=True)

    def _norm(self, name: Literal["input", "hidden", "cell"]) -> Norm:
        if not self.layer_norm or (name == "cell" and self.cell != "lstm"):
            return None
        width = self.features if name == "cell" else GATES[self.cell] * self.features
        scale = self.param(f"{name}_norm_scale", nn.initializers.ones_init(), (width,))
        bias = self.param(f"{name}_norm_bias", nn.initializers.zeros_init(), (width,))
        return scale, bias


def _normalized(x: Array, norm: Norm) -> Array:
    return x if norm is None else layer_norm(x, *norm).astype(x.dtype)


class _Recurrent(nn.Module):
    """What `RNN`, `LSTM` and `GRU` share: layers and directions."""

    features: int
    layers: int = 1
    bidirectional: bool = False
    dropout: float = 0.0
    variational_dropout: float = 0.0
    layer_norm: bool = False
    dtype: Dtype | None = None

    @nn.nowrap
    def recurrence(self) -> dict[str, Any]:
        """What a class says of its `Recurrence`."""
        raise NotImplementedError

    def __post_init__(self) -> None:
        for name in ("features", "layers"):
            if getattr(self, name) < 1:
                raise ConfigError(f"{name} must be at least 1, got {getattr(self, name)}")
        super().__post_init__()

    @nn.compact
    def __call__(
        self,
        x: Sequences,
        state: Sequence[Any] | None = None,
        *,
        lengths: Int[Array, " batch"] | None = None,
        train: bool,
    ) -> tuple[Float[Array, "batch time features"], tuple[Any, ...]]:
        check_axes(SEQUENCES, x=x)
        names = self.recurrences()
        if state is not None and len(state) != len(names):
            raise ConfigError(
                f"state must have one entry for each of {', '.join(names)}, got {len(state)}"
            )
        states: list[Any] = []
        for layer in range(self.layers):
            if layer:
                x = Dropout(self.dropout, name=f"dropout{layer}")(x, train=train)
            outputs = []
            for name in names[layer * self._directions : (layer + 1) * self._directions]:
                recurrence = Recurrence(
                    features=self.features,
                    reverse=name.endswith("reverse"),
                    layer_norm=self.layer_norm,
                    variational_dropout=self.variational_dropout,
                    dtype=self.dtype,
                    name=name,
                    **self.recurrence(),
                )
                first = None if state is None else state[len(states)]
                last, output = recurrence(x, first, lengths, train=train)
                states.append(last)
                outputs.append(output)
            x = jnp.concatenate(outputs, axis=-1) if len(outputs) > 1 else outputs[0]
        return x, tuple(states)

    @property
    def _directions(self) -> int:
        return 2 if self.bidirectional else 1

    @nn.nowrap
    def recurrences(self) -> list[str]:
        """The names of the parameters' groups, in the order of the states."""
        directions = ("", "_reverse")[: self._directions]
        return [f"layer{n}{direction}" for n in range(self.layers) for direction in directions]

    @nn.nowrap
    def torch_names(self) -> dict[str, str]:
        """Paths of the parameters that PyTorch has too, by its names."""
        parameters = {"weight": "kernel", "bias": "bias"}, {"ih": "input", "hh": "hidden"}
        return {
            f"{kind}_{of}_{name.replace('layer', 'l')}": f"params/{name}/{part}_{leaf}"
            for name in self.recurrences()
            for kind, leaf in parameters[0].items()
            for of, part in parameters[1].items()
        }


class RNN(_Recurrent):
    """Layers of h = tanh(W x + U h + b + c), as `torch.nn.RNN`; otherwise as `LSTM`.

    The state of a layer and direction is h [batch, features].

    Attributes:
        activation: "tanh" or "relu".
    """

    activation: Literal["tanh", "relu"] = "tanh"

    @nn.nowrap
    def recurrence(self) -> dict[str, Any]:
        """What a class says of its `Recurrence`."""
        return {"cell": self.activation}


class LSTM(_Recurrent):
    """Layers of long short-term memory, as `torch.nn.LSTM`.

    Called with sequences [batch, time, channels], it returns the last layer's outputs [batch, time,
    features], with twice as many features for two directions, and the state: for each layer and
    direction an `LSTMState` of arrays [batch, features]. Given as the second argument of the next
    call, it lets the sequences go on. None begins with zeros.

    `lengths` [batch] are the steps of each sequence in a padded batch, see `recur`. In training,
    dropout draws from the random stream "dropout".

    Parameters lie in `layer0`, `layer0_reverse`, `layer1`, …, see `Recurrence`.

    Attributes:
        features: size of the state.
        layers: number of layers; each reads the outputs of the one before.
        bidirectional: whether each layer also has a recurrence from the last step to the first.
        dropout: rate of DropOut between the layers, for each value on its own, as PyTorch's.
        variational_dropout: rate of DropOut of a layer's inputs and state, which drops the same
            features in all steps of a sequence (Gal and Ghahramani 2016).
        layer_norm: normalize what inputs and state give to the gates, each over all gates, and an
            LSTM's cell before the output (Ba et al. 2016).
        dtype: dtype of the products, such as bfloat16, and of the output; None promotes input and
            parameters. The state is float32 or wider.
        peepholes: whether the gates see the cell; PyTorch has none.

    Raises:
        ConfigError: features or layers below 1, other axes, or a state of another number of layers.
    """

    peepholes: bool = False

    @nn.nowrap
    def recurrence(self) -> dict[str, Any]:
        """What a class says of its `Recurrence`."""
        return {"cell": "lstm", "peepholes": self.peepholes}


class GRU(_Recurrent):
    """Layers of gated recurrent units, as `torch.nn.GRU`; otherwise as `LSTM`.

    The state of a layer and direction is an array [batch, features].
    """

    @nn.nowrap
    def recurrence(self) -> dict[str, Any]:
        """What a class says of its `Recurrence`."""
        return {"cell": "gru"}
