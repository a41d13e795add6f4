"""Sequences drawn from a language model, token by token, as one compiled loop."""

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float, Int, Key

from cnn_jax.errors import ConfigError
from cnn_jax.models.arrays import Tokens
from cnn_jax.models.language import LanguageModel


def sample(
    model: LanguageModel,
    variables: Any,
    prompt: Tokens,
    key: Key[Array, ""],
    *,
    length: int,
    temperature: float = 1.0,
    top_k: int = 0,
    top_p: float = 1.0,
) -> Int[Array, "batch length"]:
    """Tokens that go on with a prompt, each drawn from what the model says of those before it.

    Args:
        model: a language model.
        variables: of the model.
        prompt: at least one token in each row.
        key: decides the tokens.
        length: number of tokens after the prompt, at least 1.
        temperature: of the softmax: below 1 likelier tokens, 0 always the likeliest.
        top_k: draw from so many of the likeliest tokens only; 0 from all.
        top_p: draw from the likeliest tokens that together have this probability (nucleus sampling,
            Holtzman et al. 2020), after `temperature` and `top_k`.

    Raises:
        ConfigError: a value out of its bounds, or an empty prompt.
    """
    if prompt.ndim != 2 or prompt.shape[1] < 1:
        raise ConfigError(f"the prompt needs a token at least, as [batch, time]: {prompt.shape}")
    if length < 1 or not 0 <= temperature < float("inf") or top_k < 0 or not 0 < top_p <= 1:
        raise ConfigError(
            "length must be at least 1, temperature and top_k at least 0 and finite, top_p above 0 "
            f"and at most 1; got length={length}, temperature={temperature}, top_k={top_k}, "
            f"top_p={top_p}"
        )
    return _sample(model, variables, prompt, key, length, temperature, top_k, top_p)


@partial(jax.jit, static_argnums=(0, 4, 6))
def _sample(
    model: LanguageModel,
    variables: Any,
    prompt: Array,
    key: Array,
    length: int,
    temperature: Any,
    top_k: int,
    top_p: Any,
) -> Array:
    logits, state = model.apply(variables, prompt, train=False)

    def step(carry: Any, key: Array) -> Any:
        logits, state = carry
        token = jnp.where(
            temperature > 0,
            jax.random.categorical(key, likeliest(logits, temperature, top_k, top_p)),
            jnp.argmax(logits, axis=-1),
        )
        logits, state = model.apply(variables, token[:, None], state, train=False)
        return (logits[:, -1], state), token

    _, tokens = lax.scan(step, (logits[:, -1], state), jax.random.split(key, length))
    return tokens.T


def likeliest(
    logits: Float[Array, "batch vocabulary"], temperature: Any, top_k: int, top_p: Any
) -> Float[Array, "batch vocabulary"]:
    """Logits divided by a temperature, -inf for tokens that are not to be drawn; see `sample`."""
    logits = logits / jnp.where(temperature > 0, temperature, 1.0)
    ordered = jnp.sort(logits, axis=-1, descending=True)
    if 0 < top_k < logits.shape[-1]:
        logits = jnp.where(logits < ordered[:, top_k - 1 : top_k], -jnp.inf, logits)
        ordered = ordered.at[:, top_k:].set(-jnp.inf)
    probabilities = jax.nn.softmax(ordered, axis=-1)
    # A token stays if the likelier ones have not reached the probability, so that one always does.
    before = jnp.cumsum(probabilities, axis=-1) - probabilities
    least = jnp.min(jnp.where(before < top_p, ordered, jnp.inf), axis=-1, keepdims=True)
    return jnp.where(logits < least, -jnp.inf, logits)
