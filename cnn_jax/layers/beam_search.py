"""Beam search: likely sequences of tokens, each token chosen after those before it."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float, Int

from cnn_jax.errors import ConfigError

NO_TOKEN = -1
"""Beyond the end of a sequence."""
Step = Callable[[Int[Array, " beam"], Any], tuple[Float[Array, "beam vocabulary"], Any]]


def beam_search(
    step: Step,
    state: Any,
    *,
    begin: int,
    end: int,
    length: int,
    beam: int = 1,
    length_power: float = 0.0,
) -> tuple[Int[Array, "{beam} {length}"], Float[Array, " {beam}"]]:
    """The likeliest sequences that a search finds, the best one first; one compiled loop.

    After every token the `beam` best of all continuations of the sequences so far are kept. An
    ended sequence stays as it is, and competes with the others. A beam of 1 is the greedy search:
    always the likeliest token. A beam as large as the number of all sequences finds the best one.

    It is for one example; use `jax.vmap` for a batch.

    Args:
        step: gives the log probability of each next token, and the next state, of the last token
            and the state of every sequence. State leaves are [beam, …].
        state: before the first token; leaves […].
        begin: the token before a sequence, which is none of its own.
        end: the token that ends a sequence, as its last one.
        length: the largest number of tokens, `end` among them. A longer sequence is cut there.
        beam: number of sequences.
        length_power: sequences are compared by their log probability divided by this power of
            their number of tokens: 0 compares probabilities, and prefers short sequences; 1
            compares means of the tokens (Graves 2012; Wu et al. 2016, equation 14).

    Returns:
        Tokens, -1 beyond the end, and the log probability of each sequence, which is not divided.
        Where there are fewer sequences than `beam`, that of the others is -inf.

    Raises:
        ConfigError: `beam` or `length` below 1.
    """
    for name, value in (("beam", beam), ("length", length)):
        if value < 1:
            raise ConfigError(f"{name} must be at least 1, got {value}")
    state = jax.tree.map(lambda leaf: jnp.broadcast_to(leaf, (beam, *leaf.shape)), state)
    last = jnp.full(beam, begin, jnp.int32)
    dtype = jax.eval_shape(step, last, state)[0].dtype
    # In the beginning there is one sequence, the empty one.
    total = jnp.where(jnp.arange(beam) == 0, 0, -jnp.inf).astype(dtype)
    tokens = jnp.full((beam, length), NO_TOKEN, jnp.int32)
    beginning = tokens, total, jnp.zeros(beam, jnp.int32), last
    # Mapped as the state is, by jax.vmap or over mesh axes, so that a loop can carry them.
    zero = jnp.stack([jnp.any(leaf != leaf) for leaf in jax.tree.leaves(state)]).any() & False
    beginning = jax.tree.map(lambda leaf: leaf + zero.astype(leaf.dtype), beginning)

    def advance(carry: Any, time: Array) -> tuple[Any, None]:
        (tokens, total, count, last), state = carry
        log_p, state = step(last, state)
        vocabulary = log_p.shape[-1]
        ended = (last == end) & (time > 0)
        # What follows the end is nothing, once, in the place of another end.
        nothing = jnp.where(jnp.arange(vocabulary) == end, 0, -jnp.inf).astype(dtype)
        log_p = jnp.where(ended[:, None], nothing[None], log_p)
        count = count + ~ended
        candidates = total[:, None] + log_p
        ranks = candidates / count[:, None].astype(dtype) ** length_power
        _, best = lax.top_k(ranks.reshape(-1), beam)
        parents, last = best // vocabulary, best % vocabulary
        tokens = tokens[parents].at[:, time].set(jnp.where(ended[parents], NO_TOKEN, last))
        kept = tokens, candidates.reshape(-1)[best], count[parents], last
        return (kept, jax.tree.map(lambda leaf: leaf[parents], state)), None

    ((tokens, total, _, _), _), _ = lax.scan(advance, (beginning, state), jnp.arange(length))
    return tokens, total
