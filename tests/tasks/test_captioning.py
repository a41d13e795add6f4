"""Captioning: the loss of all words, what is written, and its metrics."""

import math
from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from cnn_jax.data import ArraySplit, Dataset
from cnn_jax.errors import ConfigError
from cnn_jax.models import Captioner
from cnn_jax.tasks import Captioning
from cnn_jax.tasks.captioning import references_of, words_of
from tests.tolerance import assert_close

WORDS = ("<begin>", "<end>", "a", "red", "blue", "dot")
TOKENS = np.array(
    [
        [[0, 2, 3, 5, 1, -1], [0, 3, 5, 1, -1, -1]],
        [[0, 2, 4, 5, 1, -1], [-1, -1, -1, -1, -1, -1]],
        [[0, 4, 1, -1, -1, -1], [0, 2, 4, 4, 5, 1]],
    ],
    np.int32,
)
KINDS = (("colour", ("red", "blue", "green")), ("shape", ("dot",)))


def captioning(**options):
    model = Captioner(len(WORDS), encoder="simple_cnn", features=6, embedding=5, places=2)
    return Captioning(model, WORDS, length=4, kinds=KINDS, **options)


def dataset(tokens=TOKENS, names=WORDS):
    images = np.random.default_rng(0).integers(0, 256, (len(tokens), 8, 8, 3), np.uint8)
    return Dataset(
        "dots", "Dots", {"train": ArraySplit({"image": images, "tokens": tokens})}, names
    )


def batch_of(places, weight=None):
    images = jnp.asarray(np.random.default_rng(1).standard_normal((3, 8, 8, 3)))
    weight = jnp.ones(len(places)) if weight is None else jnp.asarray(weight)
    places = np.array(places)
    return {"image": images[places], "tokens": jnp.asarray(TOKENS[places]), "weight": weight}


@pytest.fixture(scope="module")
def trained():
    task = captioning()
    return task, *task.init(jax.random.key(0), dataset().spec)


def sums_of(task, params, model_state, batch):
    loss, (_, sums) = task.loss_fn(params, model_state, batch, jax.random.key(0), False)
    return {name: float(value) for name, value in (sums | {"loss": loss}).items()}


def test_the_loss_is_that_of_every_word_and_end(trained):
    task, params, model_state = trained
    with jax.enable_x64(True):
        batch = batch_of([0, 1, 2])
        variables = {"params": params, **model_state}
        expected = count = 0.0
        for image, captions in zip(batch["image"], TOKENS, strict=True):
            for row in captions[captions[:, 0] >= 0]:
                row = row[row >= 0]
                logits = task.model.apply(variables, image[None], jnp.asarray(row[None, None, :-1]))
                scores = jax.nn.log_softmax(logits[0, 0])
                expected -= float(scores[np.arange(len(row) - 1), row[1:]].sum())
                count += len(row) - 1
        sums = sums_of(task, params, model_state, batch)
        assert sums["weight"] == count == 4 + 3 + 4 + 2 + 5
        assert_close(sums["loss"], expected)
        # Batches add up, and what has no weight does not count.
        first = sums_of(task, params, model_state, batch_of([0, 1], [1.0, 1.0]))
        second = sums_of(task, params, model_state, batch_of([2, 0], [1.0, 0.0]))
        assert_close({name: first[name] + second[name] for name in sums}, sums)
    metrics = task.summarize(sums)
    assert metrics["perplexity"] == pytest.approx(math.exp(expected / count))


def test_gradients_of_padding_are_zero(trained):
    task, params, model_state = trained

    def loss(params, tokens):
        batch = batch_of([0, 1, 2]) | {"tokens": tokens}
        return task.loss_fn(params, model_state, batch, jax.random.key(0), False)[0]

    longer = np.pad(TOKENS, ((0, 0), (0, 1), (0, 3)), constant_values=-1)
    gradients = [jax.grad(loss)(params, jnp.asarray(tokens)) for tokens in (TOKENS, longer)]
    assert_close(gradients[0], gradients[1], rtol=1e-5, atol=1e-6)
    assert any(np.abs(leaf).max() > 0 for leaf in jax.tree.leaves(gradients[0]))


@pytest.mark.parametrize("beam", [1, 3])
def test_what_is_written_is_found_by_the_search(trained, beam):
    task, params, model_state = trained
    task = replace(task, beam=beam)
    # Larger weights make sentences that differ.
    params = jax.tree.map(lambda leaf: 4 * leaf, params)
    batch, variables = batch_of([0, 1, 2]), {"params": params, **model_state}
    written = jax.jit(task.predict)(params, model_state, batch)
    assert written["tokens"].shape == (3, 5)
    for place in range(3):
        tokens = np.asarray(written["tokens"][place])
        tokens = tokens[tokens >= 0]
        inputs = jnp.asarray([0, *tokens[:-1]], jnp.int32)[None, None]
        logits = task.model.apply(variables, batch["image"][place : place + 1], inputs)[0, 0]
        scores = jax.nn.log_softmax(logits)[np.arange(len(tokens)), tokens]
        assert_close(written["log_probability"][place], scores.sum(), rtol=1e-4)
        if beam == 1:
            assert np.array_equal(tokens, np.argmax(logits, axis=-1))
            assert tokens[-1] == 1 or len(tokens) == 5
    greedy = jax.jit(replace(task, beam=1).predict)(params, model_state, batch)
    likelier = written["log_probability"] - greedy["log_probability"]
    assert np.all(likelier == 0) if beam == 1 else np.any(likelier > 0)


def test_metrics_worked_out_by_hand():
    """The first caption is right, the second has a wrong colour, the third is no reference."""
    task = captioning()
    written = np.array([[3, 5, 1, -1, -1], [2, 3, 5, 1, -1], [4, 5, 1, -1, -1]])
    found = task.measure({"written": written, "references": TOKENS})
    assert set(found) | {"loss", "perplexity"} == set(task.metrics)
    assert found["exact"] == pytest.approx(1 / 3)
    # Nearest references: "red dot", "a blue dot", "blue".
    assert found["right/colour"] == pytest.approx(2 / 3)
    assert found["right/shape"] == pytest.approx(1)
    # 2 of 2, 2 of 3 and 2 of 2 words.
    assert found["bleu1"] == pytest.approx(6 / 7)
    assert found["bleu4"] == 0
    perfect = task.measure({"written": TOKENS[:, 0, 1:], "references": TOKENS})
    assert perfect["exact"] == perfect["bleu2"] == perfect["right/colour"] == 1


def test_words_and_references_of_tokens():
    assert words_of(np.array([3, 5, 1, -1])) == [3, 5]
    assert words_of(np.array([1, -1])) == []
    assert references_of(TOKENS[1]) == [[2, 4, 5]]


def test_rows_are_those_of_the_batch(trained):
    task, params, model_state = trained
    batch = batch_of([2, 0])
    rows = task.rows(params, model_state, batch)
    np.testing.assert_array_equal(rows["references"], TOKENS[[2, 0]])
    np.testing.assert_array_equal(
        rows["written"], task.predict(params, model_state, batch)["tokens"]
    )


@pytest.mark.usefixtures("no_shape_hook")
def test_what_does_not_fit():
    task = captioning()
    task.check(dataset())
    with pytest.raises(ConfigError, match=r"words is not that of Dots, 7 words, such as 'green'"):
        task.check(dataset(names=(*WORDS, "green")))
    with pytest.raises(ConfigError, match="of Dots, 6 words in another order: take the captions"):
        task.check(dataset(names=WORDS[::-1]))
    flat = Dataset("t", "Texts", {"train": ArraySplit({"tokens": TOKENS[:, 0]})}, WORDS)
    with pytest.raises(ConfigError, match="needs images with tokens .*: Texts has tokens"):
        task.check(flat)
    for name in ("beam", "length"):
        with pytest.raises(ConfigError, match=f"{name} must be at least 1, got 0"):
            replace(task, **{name: 0})
    with pytest.raises(ConfigError, match="vocabulary of 6 words, and 5 words are given"):
        replace(task, words=WORDS[:5])
