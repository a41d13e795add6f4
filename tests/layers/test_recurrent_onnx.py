"""RNN, LSTM and GRU against ONNX's own cases."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from cnn_jax import layers
from tests.layers.detection import onnx_cases
from tests.tolerance import assert_close

# Our gates, as places in ONNX's order.
GATES = {"RNN": [0], "LSTM": [0, 2, 3, 1], "GRU": [1, 0, 2]}
PEEPHOLES = [0, 2, 1]
# gru_seq_length is left out: its reset gate comes before the product, and ours, as PyTorch's, after
# it. In the other cases of GRU both are the same.
CASES = (
    *("simple_rnn_defaults", "simple_rnn_with_initial_bias", "rnn_seq_length"),
    *("simple_rnn_batchwise", "simple_rnn_reverse", "simple_rnn_bidirectional"),
    *("lstm_defaults", "lstm_with_initial_bias", "lstm_with_peepholes"),
    *("lstm_batchwise", "lstm_reverse", "lstm_bidirectional"),
    *("gru_defaults", "gru_with_initial_bias", "gru_batchwise", "gru_reverse", "gru_bidirectional"),
)


@pytest.mark.full
def test_recurrences_equal_onnx():
    cases = onnx_cases()
    for name in CASES:
        found, expected = outputs(cases[f"test_{name}"])
        assert expected.keys() <= found.keys() and expected, name
        for key, array in expected.items():
            assert_close(found[key], array, rtol=1e-6, atol=1e-7)


def outputs(case):
    """Our outputs of a case, by ONNX's names, and those that it expects."""
    ((node,), ((arrays, expected),)) = case.model.graph.node, case.data_sets
    given = dict(zip(filter(None, node.input), map(np.asarray, arrays), strict=True))
    options = {one.name: one for one in node.attribute}
    features = options["hidden_size"].i
    direction = options["direction"].s if "direction" in options else b"forward"
    batch_first = "layout" in options and options["layout"].i == 1
    x = given["X"] if batch_first else given["X"].swapaxes(0, 1)
    peepholes = {"peepholes": True} if "P" in given else {}
    module = getattr(layers, node.op_type)(
        features, bidirectional=direction == b"bidirectional", **peepholes
    )
    of_layer = {
        name: parameters(node.op_type, {key: value[number] for key, value in given.items()})
        for number, name in enumerate(module.recurrences())
    }
    backward = slice(None, None, -1 if direction == b"reverse" else 1)
    lengths = jnp.asarray(given["sequence_lens"]) if "sequence_lens" in given else None
    y, states = module.apply(
        {"params": jax.tree.map(jnp.asarray, of_layer)},
        jnp.asarray(x[:, backward]),
        lengths=lengths,
        train=False,
    )
    # [batch, time, directions, features] and [batch, directions, features]
    y = np.stack(np.split(np.asarray(y)[:, backward], len(states), axis=-1), axis=2)
    kept = {"Y_h": [s.hidden if node.op_type == "LSTM" else s for s in states]}
    if node.op_type == "LSTM":
        kept["Y_c"] = [state.cell for state in states]
    found = {"Y": y} | {name: np.stack(of_each, axis=1) for name, of_each in kept.items()}
    if not batch_first:
        found = {name: np.moveaxis(one, 0, -2) for name, one in found.items()}
    names = [("Y", "Y_h", "Y_c")[place] for place, name in enumerate(node.output) if name]
    return found, dict(zip(names, expected, strict=True))


def parameters(kind, given):
    """Our parameters of one direction."""

    def ours(array):
        parts = np.split(array, len(GATES[kind]))
        return np.concatenate([parts[gate] for gate in GATES[kind]])

    weights, recurrent = ours(given["W"]), ours(given["R"])
    biases = np.split(given.get("B", np.zeros(2 * len(weights), np.float32)), 2)
    seen = {}
    if "P" in given:
        seen["peepholes"] = given["P"].reshape(3, -1)[PEEPHOLES]
    return seen | {
        "input_kernel": weights.T,
        "hidden_kernel": recurrent.T,
        "input_bias": ours(biases[0]),
        "hidden_bias": ours(biases[1]),
    }
