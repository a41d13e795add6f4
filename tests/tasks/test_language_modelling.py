"""The loss of a language model, exact over a whole text."""

import math
from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from cnn_jax.data.text import TextConfig, load_text
from cnn_jax.errors import ConfigError
from cnn_jax.models import LanguageModel
from cnn_jax.tasks import LanguageModelling
from tests.tasks.specs import image_spec
from tests.tolerance import assert_close

TEXT = "a rose is a rose is a rose. " * 6


@pytest.fixture
def config(tmp_path):
    path = tmp_path / "text.txt"
    path.write_text(TEXT)
    return TextConfig(name=str(path), window=10, validation=0.5)


def evaluation(task, params, split, batch_size):
    carry, totals = task.init_carry(batch_size), {"loss": 0.0, "weight": 0.0}
    for places in split.evaluation_order(batch_size).reshape(-1, batch_size):
        batch = split.take({"tokens": jnp.asarray(split.tokens)}, jnp.asarray(places))
        batch["weight"] = jnp.asarray(places >= 0, jnp.float32)
        key = jax.random.key(0)
        loss, (state, sums) = task.loss_fn(params, {"carry": carry}, batch, key, False)
        carry = state["carry"]
        totals = {"loss": totals["loss"] + loss, "weight": totals["weight"] + sums["weight"]}
    return totals


def test_the_loss_is_that_of_the_whole_text_whatever_the_windows(config):
    dataset = load_text(config)
    task = LanguageModelling(LanguageModel(len(dataset.class_names), features=8, layers=1))
    params, model_state = task.init(jax.random.key(0), dataset.spec)
    assert model_state == {}
    split = dataset.splits["validation"]
    tokens = split.tokens[split.tokens >= 0]
    logits, _ = task.model.apply({"params": params}, tokens[None, :-1])
    scores = jax.nn.log_softmax(logits[0])
    expected = -float(scores[np.arange(len(tokens) - 1), tokens[1:]].sum())
    for window in (10, 13):
        split = load_text(replace(config, window=window)).splits["validation"]
        sums = evaluation(task, params, split, 1)
        assert float(sums["weight"]) == len(tokens) - 1 == 83
        assert_close(float(sums["loss"]), expected, rtol=1e-5)
    # Several rows are as many texts, of which each token is counted once.
    assert float(evaluation(task, params, split, 3)["weight"]) == 83
    metrics = task.summarize(sums)
    assert metrics["bits_per_token"] == pytest.approx(expected / 83 / math.log(2), rel=1e-5)
    assert metrics["perplexity"] == pytest.approx(math.exp(expected / 83), rel=1e-4)
    assert task.summarize({"loss": 1e9, "weight": 1.0})["perplexity"] < math.inf
    batch = {"tokens": jnp.asarray(tokens[None, :11])}
    assert_close(task.predict(params, {}, batch), logits[:, :10], rtol=1e-5)


def test_a_data_set_that_does_not_fit(config):
    dataset = load_text(config)
    with pytest.raises(ConfigError, match="the model has a vocabulary of 3 tokens, and text.txt"):
        LanguageModelling(LanguageModel(3)).check(dataset)
    LanguageModelling(LanguageModel(9)).check(dataset)
    images = type("Images", (), {"spec": image_spec((2, 2, 1)), "title": "images"})
    with pytest.raises(ConfigError, match="a language model needs a text: images has image"):
        LanguageModelling(LanguageModel(9)).check(images)
