import numpy as np

from cnn_jax.data.phrases import find_phrases, join_phrases


def word2phrase(tokens, counts, pairs, threshold, discount):
    """The loop of the authors' program, over words that are frequent enough."""
    written, previous_count, previous = [], 0, None
    for token in tokens:
        if token < 0:
            written.append((-1,))
            previous_count, previous = 0, None
            continue
        score = 0.0
        if previous is not None and previous_count:
            together = pairs.get((previous, token), 0) - discount
            score = together / previous_count / counts[token] * counts.sum()
        if score > threshold:
            written[-1] += (token,)
            previous_count = 0
        else:
            written.append((token,))
            previous_count = counts[token]
        previous = token
    return written


def test_phrases_are_those_of_word2phrase():
    rng = np.random.default_rng(0)
    text = rng.integers(0, 6, 600)
    text[rng.random(600) < 0.1] = -1
    # 0 1 2 and 3 4 belong together.
    for place in range(0, 590, 20):
        text[place : place + 5] = [0, 1, 2, 3, 4]
    counts = np.bincount(text[text >= 0])
    pairs = {}
    for pair in zip(text[:-1].tolist(), text[1:].tolist(), strict=True):
        pairs[pair] = pairs.get(pair, 0) + 1
    phrases = find_phrases(text, 6, threshold=1.5, discount=5)
    names = phrases.names("abcdef")
    assert {"a_b", "b_c", "d_e"} <= set(names)
    joined = join_phrases(text, phrases)
    keys = [tuple(map(int, divmod(key, 6))) for key in phrases.keys]
    found = [keys[token - 6] if token >= 6 else (token,) for token in joined.tolist()]
    assert found == word2phrase(text.tolist(), counts, pairs, 1.5, 5)


def test_without_phrases_a_text_stays_as_it_is():
    text = np.array([0, 1, -1, 0, 1])
    phrases = find_phrases(text, 2, threshold=1e9, discount=0)
    assert not len(phrases.keys)
    assert join_phrases(text, phrases).tolist() == text.tolist()
