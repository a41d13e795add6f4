"""Beam search against all sequences, and against plain loops."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import AxisType, NamedSharding
from jax.sharding import PartitionSpec as P

from cnn_jax.errors import ConfigError
from cnn_jax.layers import beam_search
from tests.tolerance import assert_close

BEGIN, END, WORDS, LENGTH = 0, 1, 4, 4
RNG = np.random.default_rng(0)
HIDDEN, VECTORS, OUT = RNG.standard_normal((5, 5)), *RNG.standard_normal((2, WORDS, 5))
STATES = 2 * RNG.standard_normal((6, 5))
OPTIONS = {"begin": BEGIN, "end": END, "length": LENGTH}


def step(tokens, state):
    """A recurrent network: what follows depends on all tokens before."""
    hidden, vectors, out = (jnp.asarray(array, state.dtype) for array in (HIDDEN, VECTORS, OUT))
    state = jnp.tanh(state @ hidden + jax.nn.one_hot(tokens, WORDS, dtype=state.dtype) @ vectors)
    return jax.nn.log_softmax(2 * state @ out.T), state


def after(tokens, state):
    """The log probabilities of what follows some tokens, by numpy."""
    for token in (BEGIN, *tokens):
        state = np.tanh(state @ HIDDEN + VECTORS[token])
    logits = 2 * OUT @ state
    return logits - np.log(np.exp(logits).sum())


def log_probability(tokens, state):
    return sum(after(tokens[:place], state)[token] for place, token in enumerate(tokens))


def every_sequence():
    """All that end, and those that are cut."""
    others = [word for word in range(WORDS) if word != END]
    for length in range(1, LENGTH + 1):
        for tokens in itertools.product(others, repeat=length - 1):
            yield (*tokens, END)
    yield from itertools.product(others, repeat=LENGTH)


def searched(state, **options):
    tokens, total = jax.jit(lambda state: beam_search(step, state, **OPTIONS | options))(state)
    rows = [tuple(row[row >= 0].tolist()) for row in np.asarray(tokens)]
    return rows, np.asarray(total)


@pytest.mark.parametrize("power", [0.0, 0.7, 1.0])
def test_a_large_beam_finds_every_sequence_in_order(power):
    sequences = list(every_sequence())
    with jax.enable_x64(True):
        for state in STATES[:2]:
            known = {one: log_probability(one, state) for one in sequences}
            ranked = sorted(known, key=lambda one: -known[one] / len(one) ** power)
            rows, total = searched(jnp.asarray(state), beam=len(known) + 3, length_power=power)
            assert rows[: len(known)] == ranked
            assert_close(total[: len(known)], np.array([known[one] for one in ranked]))
            # Together they are all that can happen, and nothing else is found.
            assert_close(np.exp(total).sum(), 1.0)
            assert np.isneginf(total[len(known) :]).all()


def test_a_beam_of_1_is_the_likeliest_token_each_time():
    with jax.enable_x64(True):
        for state in STATES:
            tokens: tuple[int, ...] = ()
            while len(tokens) < LENGTH and END not in tokens:
                tokens += (int(np.argmax(after(tokens, state))),)
            rows, total = searched(jnp.asarray(state))
            assert rows == [tokens]
            assert_close(total, np.array([log_probability(tokens, state)]))


def kept_by_hand(state, beam, power):
    """The search as a plain loop over lists."""
    kept = [()]
    for _ in range(LENGTH):
        candidates = [one for one in kept if END in one]
        candidates += [(*one, word) for one in kept if END not in one for word in range(WORDS)]
        score = {one: log_probability(one, state) / len(one) ** power for one in candidates}
        kept = sorted(candidates, key=lambda one: -score[one])[:beam]
    return kept


@pytest.mark.parametrize(("beam", "power"), [(2, 0.0), (3, 0.0), (3, 1.0)])
def test_the_best_of_all_continuations_are_kept(beam, power):
    with jax.enable_x64(True):
        for state in STATES:
            rows, total = searched(jnp.asarray(state), beam=beam, length_power=power)
            expected = kept_by_hand(state, beam, power)
            assert rows == expected
            assert_close(total, np.array([log_probability(one, state) for one in expected]))


def test_a_larger_beam_finds_what_the_greedy_search_misses():
    with jax.enable_x64(True):
        pairs = [[searched(jnp.asarray(one), beam=b)[1][0] for b in (1, 40)] for one in STATES]
    assert all(greedy <= best + 1e-12 for greedy, best in pairs)
    assert any(greedy < best - 0.1 for greedy, best in pairs)


def test_an_end_that_is_also_the_beginning():
    with jax.enable_x64(True):
        rows, _ = searched(jnp.asarray(STATES[0]), beam=30, begin=END)
    assert max(map(len, rows)) == LENGTH and (END,) in rows


def of_batch(states):
    return jax.vmap(lambda one: beam_search(step, one, **OPTIONS, beam=3))(states)


def many():
    return jax.random.normal(jax.random.key(0), (16, 5))


@pytest.mark.parametrize("check_vma", [True, False])
def test_in_shard_map(check_vma):
    mesh = jax.make_mesh((8,), ("data",), axis_types=(AxisType.Auto,))
    divided = jax.shard_map(
        of_batch, mesh=mesh, in_specs=P("data"), out_specs=P("data"), check_vma=check_vma
    )
    assert_close(jax.jit(divided)(many()), jax.jit(of_batch)(many()), rtol=1e-5)


@pytest.mark.parametrize("kind", [AxisType.Auto, AxisType.Explicit])
def test_over_a_divided_batch(kind):
    mesh = jax.make_mesh((8,), ("data",), axis_types=(kind,))
    with jax.set_mesh(mesh):
        placed = jax.device_put(many(), NamedSharding(mesh, P("data")))
        actual = jax.jit(of_batch)(placed)
        assert actual[0].sharding.spec[0] == "data"
    assert_close(actual, jax.jit(of_batch)(many()), rtol=1e-5)


@pytest.mark.usefixtures("no_shape_hook")
def test_sizes_below_1():
    for name in ("beam", "length"):
        with pytest.raises(ConfigError, match=f"{name} must be at least 1, got 0"):
            beam_search(step, jnp.zeros(5), **OPTIONS | {name: 0})
