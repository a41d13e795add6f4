"""word2vec against its definition, pair by pair."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from cnn_jax.tasks import word2vec, word_blocks
from cnn_jax.tasks.huffman import huffman_paths
from tests.tolerance import assert_close

COUNTS = np.array([1000, 300, 50, 20, 5, 1])
DRAW = jax.jit(word_blocks.draw_blocks, static_argnames=("window", "size", "number"))


def softplus(x):
    return np.log1p(np.exp(x))


def pairs_of(blocks):
    """The words in the middle, each with those around it."""
    return [
        (int(middle), [int(word) for word in around[near]])
        for block in zip(*map(np.asarray, blocks), strict=True)
        for middle, near in zip(block[0], block[2], strict=True)
        for around in [block[1]]
        if near.any()
    ]


def draw(tokens, keep, seed=0, **sizes):
    sizes = {"window": 2, "size": 3, "number": 3} | sizes
    return DRAW(jax.random.key(seed), jnp.asarray(tokens), keep, **sizes)


def test_frequent_words_are_left_out_as_word2vec_does():
    keep = word_blocks.keep_probabilities(COUNTS, 0.01)
    share = COUNTS / COUNTS.sum()
    # word2vec.c: (sqrt(cn / (sample * train_words)) + 1) * (sample * train_words) / cn
    ran = (np.sqrt(share / 0.01) + 1) * 0.01 / share
    assert_close(keep, np.minimum(ran, 1), rtol=1e-6)
    assert np.all(word_blocks.keep_probabilities(COUNTS, 0) == 1)


def test_noise_is_the_unigrams_to_the_power_of_three_quarters():
    share, other = word2vec.noise_table(COUNTS)
    drawn = np.bincount(np.arange(6), share, 6) + np.bincount(other, 1 - share, 6)
    expected = COUNTS**0.75 / (COUNTS**0.75).sum()
    assert_close(drawn / 6, expected, rtol=1e-6)
    words = word2vec.draw_noise(jax.random.key(0), word2vec.Noise(share, other), (10_000,))
    assert_close(np.bincount(words, minlength=6) / 10_000, expected, rtol=0, atol=0.02)


def test_windows_are_of_one_sentence_and_reach_over_what_is_left_out():
    tokens = [0, 1, 2, word_blocks.BREAK, 3, 0, 4]
    keep = jnp.asarray([0.0, 1, 1, 1, 1])
    for seed in range(5):
        found = pairs_of(draw(tokens, keep, seed))
        assert found == [(1, [2]), (2, [1]), (3, [4]), (4, [3])]


def test_windows_have_each_width_and_cross_blocks():
    widths = set()
    for seed in range(20):
        found = pairs_of(draw(np.arange(9), jnp.ones(9), seed))
        for middle, around in found:
            width = max(abs(middle - word) for word in around)
            widths.add(width)
            expected = [n for n in range(9) if 1 <= abs(n - middle) <= width]
            assert around == expected
        assert [middle for middle, _ in found] == list(range(9))
    assert widths == {1, 2}


def test_what_does_not_fit_is_left_out():
    found = pairs_of(draw(np.arange(9), jnp.ones(9), number=2))
    assert [middle for middle, _ in found] == list(range(6))
    assert word_blocks.blocks_of(1000, 0.3, 32) == 12 and word_blocks.blocks_of(10, 1.0, 4) == 3
    kept = [
        len(pairs_of(draw(np.zeros(1000, int), jnp.asarray([0.3]), seed, size=32, number=12)))
        for seed in range(20)
    ]
    assert max(kept) < 384 and abs(np.mean(kept) - 300) < 15


def definition(task, tables, blocks, targets, inputs, outputs):
    """The loss, word by word."""
    total = 0.0
    for block in range(len(blocks.middle)):
        noise = np.asarray(targets.places[block])[task.block :]
        for word, near in zip(blocks.middle[block], np.asarray(blocks.near[block]), strict=True):
            around = [inputs[other] for other in np.asarray(blocks.around[block])[near]]
            if task.objective == "cbow" and around:
                around = [sum(around) / len(around)]
            for hidden in around:
                if tables.paths is None:
                    total += softplus(-hidden @ outputs[word])
                    share = task.negatives / task.drawn
                    total += share * sum(softplus(hidden @ outputs[other]) for other in noise)
                    continue
                for node, sign in zip(*(part[word] for part in tables.paths), strict=True):
                    total += softplus(-sign * (hidden @ outputs[node])) if sign else 0
    return total


@pytest.mark.parametrize("objective", ["skip_gram", "cbow"])
@pytest.mark.parametrize("output", ["negative_sampling", "hierarchical_softmax"])
def test_loss_and_update_are_those_of_the_definition(objective, output):
    rng = np.random.default_rng(0)
    task = word2vec.Word2Vec(
        size=3, objective=objective, output=output, window=2, block=4, drawn=2, threshold=0
    )
    tables = task.tables(COUNTS)
    tokens = jnp.asarray([2, 0, 2, 4, -1, 1, 0])  # neither 3 nor 5
    with jax.enable_x64(True):
        inputs, outputs = rng.standard_normal((2, 6, 3))
        vectors = word2vec.Vectors(jnp.asarray(inputs), jnp.asarray(outputs))
        blocks, targets = jax.jit(lambda key: task.draw(key, tokens, tables))(jax.random.key(0))
        value, touched = jax.jit(task.loss_and_gradients)(vectors, blocks, targets)
        about = (task, tables, blocks, targets)
        assert_close(value, definition(*about, inputs, outputs))
        after = word2vec.step_along(vectors, touched, 0.1)
        step = 1e-6
        for name, table in (("inputs", inputs), ("outputs", outputs)):
            expected = np.zeros_like(table)
            for place in np.ndindex(table.shape):
                sides = []
                for sign in (1, -1):
                    moved = {"inputs": inputs.copy(), "outputs": outputs.copy()}
                    moved[name][place] += sign * step
                    sides.append(definition(*about, **moved))
                expected[place] = (sides[0] - sides[1]) / (2 * step)
            assert_close((table - getattr(after, name)) / 0.1, expected, rtol=1e-7, atol=1e-7)
        assert np.array_equal(after.inputs[jnp.asarray([3, 5])], inputs[[3, 5]])


def test_shared_noise_has_the_loss_of_noise_of_its_own_on_average():
    rng = np.random.default_rng(1)
    inputs, outputs = (jnp.asarray(rng.standard_normal((6, 4)), jnp.float32) for _ in range(2))
    shares = COUNTS**0.75 / (COUNTS**0.75).sum()
    near = jnp.asarray(rng.random((2, 6)) < 0.5, jnp.float32)
    losses = []
    for number in (3, 300):
        task = word2vec.Word2Vec(block=2, drawn=number)
        signs = jnp.where(jnp.arange(2 + number) < 2, 1.0, -1.0)

        def of_noise(words, task=task, signs=signs):
            rows = jnp.concatenate([outputs[:2], outputs[words]])
            return task.block_loss(inputs, rows, near, signs)

        noise = jnp.asarray(rng.choice(6, (200, number), p=shares))
        losses.append(float(jax.jit(jax.vmap(of_noise))(noise).mean()))
    assert losses[0] == pytest.approx(losses[1], rel=0.05)


def test_the_tree_has_the_shortest_codes():
    nodes, signs = huffman_paths(COUNTS)
    lengths = (signs != 0).sum(axis=1)
    assert lengths.tolist() == [1, 2, 3, 4, 5, 5]
    # The probabilities of all words add up to 1, whatever the nodes' scores are.
    scores = np.random.default_rng(0).standard_normal(5)
    branches = np.where(signs, 1 / (1 + np.exp(-signs * scores[nodes])), 1)
    assert branches.prod(axis=1).sum() == pytest.approx(1)
    # A tree for words of equal counts is balanced.
    assert set((huffman_paths(np.ones(8, int)).signs != 0).sum(axis=1)) == {3}
    with pytest.raises(ValueError, match="at least 2 words"):
        huffman_paths(np.array([3]))
