"""word2vec against its definition, pair by pair."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from cnn_jax.tasks import word2vec
from tests.tolerance import assert_close

COUNTS = np.array([1000, 300, 50, 20, 1])


def softplus(x):
    return np.log1p(np.exp(x))


def pairs_of(stretch):
    return [(int(i), int(j)) for i, j in np.argwhere(np.asarray(stretch.near))]


def test_frequent_words_are_left_out_as_word2vec_does():
    keep = word2vec.keep_probabilities(COUNTS, 0.01)
    share = COUNTS / COUNTS.sum()
    # word2vec.c: (sqrt(cn / (sample * train_words)) + 1) * (sample * train_words) / cn
    ran = (np.sqrt(share / 0.01) + 1) * 0.01 / share
    assert_close(keep, np.minimum(ran, 1), rtol=1e-6)
    assert np.all(word2vec.keep_probabilities(COUNTS, 0) == 1)
    table = word2vec.noise_table(COUNTS)
    expected = COUNTS**0.75 / (COUNTS**0.75).sum()
    assert_close(np.bincount(table, minlength=5) / len(table), expected, rtol=1e-5, atol=2e-6)


def test_windows_are_of_one_sentence_and_reach_over_what_is_left_out():
    tokens = jnp.asarray([0, 1, 2, word2vec.BREAK, 3, 0, 4])
    keep = jnp.asarray([0.0, 1, 1, 1, 1])
    draw = jax.jit(lambda key: word2vec.draw_stretch(key, tokens, keep, 2, 7))
    seen = set()
    for seed in range(20):
        stretch = draw(jax.random.key(seed))
        assert stretch.tokens.tolist() == [1, 2, 3, 4, 0, 0, 0]
        pairs = pairs_of(stretch)
        assert set(pairs) == {(0, 1), (1, 0), (2, 3), (3, 2)}
    tokens = jnp.arange(5)
    keep = jnp.ones(5)
    for seed in range(40):
        stretch = word2vec.draw_stretch(jax.random.key(seed), tokens, keep, 2, 5)
        reach = [max(abs(i - j) for i, j in pairs_of(stretch) if i == 2), len(pairs_of(stretch))]
        seen.add(reach[0])
        for i in range(5):
            widest = max(abs(i - j) for a, j in pairs_of(stretch) if a == i)
            assert {j for a, j in pairs_of(stretch) if a == i} == {
                j for j in range(5) if 1 <= abs(i - j) <= widest
            }
    assert seen == {1, 2}


def test_as_many_are_kept_as_there_is_room_for():
    keep = jnp.asarray([0.3])
    assert word2vec.room_for_kept(1000, 0.3) == 358 and word2vec.room_for_kept(10, 1.0) == 10
    draw = jax.jit(
        lambda key: word2vec.draw_stretch(key, jnp.zeros(1000, jnp.int32), keep, 1, 358).near
    )
    kept = [int(np.asarray(draw(jax.random.key(n))).any(axis=1).sum()) for n in range(20)]
    assert max(kept) < 358 and abs(np.mean(kept) - 300) < 15


@pytest.mark.parametrize("objective", ["skip_gram", "cbow"])
def test_loss_and_update_are_those_of_the_definition(objective):
    rng = np.random.default_rng(0)
    with jax.enable_x64(True):
        inputs, outputs = rng.standard_normal((2, 6, 3))
        vectors = word2vec.Vectors(jnp.asarray(inputs), jnp.asarray(outputs))
        tokens, noise = np.array([2, 0, 2, 4]), np.array([1, 2])
        near = np.array([[0, 1, 0, 0], [1, 0, 1, 1], [0, 1, 0, 1], [0, 0, 0, 0]], bool)
        stretch = word2vec.Stretch(jnp.asarray(tokens), jnp.asarray(near))
        negatives = 5.0

        def definition(inputs, outputs):
            total = 0.0
            for i in range(4):
                around = [tokens[j] for j in range(4) if near[i, j]]
                if objective == "cbow" and around:
                    groups = [sum(inputs[word] for word in around) / len(around)]
                else:
                    groups = [inputs[word] for word in around]
                for hidden in groups:
                    total += softplus(-hidden @ outputs[tokens[i]])
                    total += negatives / 2 * sum(softplus(hidden @ outputs[k]) for k in noise)
            return total

        value, touched = word2vec.loss_and_gradients(
            vectors, stretch, jnp.asarray(noise), objective, negatives
        )
        assert_close(value, definition(inputs, outputs))
        after = word2vec.step_along(vectors, touched, 0.1)
        step = 1e-6
        for name, table in (("inputs", inputs), ("outputs", outputs)):
            expected = np.zeros_like(table)
            for place in np.ndindex(table.shape):
                sides = []
                for sign in (1, -1):
                    moved = {"inputs": inputs.copy(), "outputs": outputs.copy()}
                    moved[name][place] += sign * step
                    sides.append(definition(**moved))
                expected[place] = (sides[0] - sides[1]) / (2 * step)
            assert_close((table - getattr(after, name)) / 0.1, expected, rtol=1e-7, atol=1e-7)
        untouched = [3, 5]
        assert np.array_equal(after.inputs[jnp.asarray(untouched)], inputs[untouched])


def test_shared_noise_has_the_loss_of_noise_of_its_own_on_average():
    rng = np.random.default_rng(1)
    inputs, outputs = (jnp.asarray(rng.standard_normal((5, 4)), jnp.float32) for _ in range(2))
    table = word2vec.noise_table(COUNTS)
    near = jnp.asarray(rng.random((5, 5)) < 0.5)
    losses = []
    for number in (3, 300):
        noise = rng.choice(table, (200, number))

        def of_noise(words):
            return word2vec.skip_gram_loss(inputs, outputs, outputs[words], near, 5)

        losses.append(float(jax.jit(jax.vmap(of_noise))(jnp.asarray(noise)).mean()))
    assert losses[0] == pytest.approx(losses[1], rel=0.05)
