import numpy as np
import pytest

from cnn_jax.data import DataError
from cnn_jax.data.word_tests import read_analogies, read_word_pairs
from cnn_jax.tasks.word_scores import (
    analogy_scores,
    nearest_words,
    similarity_score,
    solve_analogies,
    unit_rows,
)

WORDS = tuple(f"w{n}" for n in range(40))
VECTORS = np.random.default_rng(0).standard_normal((40, 6)).astype(np.float32)


def test_analogies_similarities_and_neighbours_are_gensims(tmp_path):
    models = pytest.importorskip("gensim.models", reason="gensim is not installed")
    theirs = models.KeyedVectors(6)
    theirs.add_vectors(list(WORDS), VECTORS)
    units, rng = unit_rows(VECTORS), np.random.default_rng(1)
    questions = np.stack([rng.permutation(40)[:4] for _ in range(60)])
    for method, similar in (
        ("3CosAdd", theirs.most_similar),
        ("3CosMul", theirs.most_similar_cosmul),
    ):
        answers = solve_analogies(units, questions[:, :3], method)
        for (a, b, c, _), answer in zip(questions, answers, strict=True):
            found = similar(positive=[WORDS[b], WORDS[c]], negative=[WORDS[a]], topn=1)
            assert WORDS[answer] == found[0][0]
    places, cosines = nearest_words(units, np.array([3, 5]), 4)
    for row, word in enumerate(("w3", "w5")):
        expected = theirs.most_similar(word, topn=4)
        assert [WORDS[place] for place in places[row]] == [name for name, _ in expected]
        np.testing.assert_allclose(cosines[row], [cosine for _, cosine in expected], rtol=1e-5)
    lines = [
        f"w{a}\tw{b}\t{score}" for a, b, score in zip(*rng.integers(0, 45, (3, 50)), strict=True)
    ]
    (tmp_path / "pairs.txt").write_text("\n".join(lines))
    ours = similarity_score(WORDS, VECTORS, read_word_pairs(tmp_path / "pairs.txt"))
    expected = theirs.evaluate_word_pairs(str(tmp_path / "pairs.txt"), case_insensitive=False)
    assert ours.spearman == pytest.approx(expected[1][0], rel=1e-5)
    assert (ours.asked - ours.known) / ours.asked * 100 == pytest.approx(expected[2])


def test_analogies_by_section():
    vectors = np.array([[1, 0, 0], [1, 0, 1], [0, 1, 0], [0, 1, 1], [-1, -1, 0]], float)
    words = ("man", "king", "woman", "queen", "far")
    sections = {
        "royal": [("man", "king", "woman", "queen"), ("man", "king", "woman", "far")],
        "unknown": [("man", "king", "woman", "x")],
    }
    scores = analogy_scores(words, vectors, sections)
    assert scores["royal"] == (1, 2, 2) and scores["royal"].accuracy == 0.5
    assert scores["unknown"] == (0, 0, 1) and np.isnan(scores["unknown"].accuracy)
    assert scores["total"] == (1, 2, 3)
    assert np.isnan(similarity_score(words, vectors, [("man", "king", 1.0)]).spearman)


def test_files_of_tests(tmp_path):
    path = tmp_path / "questions.txt"
    path.write_text(": capital-common\nAthens Greece Oslo Norway\n\n: family\nboy girl he she\n")
    assert read_analogies(path) == {
        "capital-common": [("athens", "greece", "oslo", "norway")],
        "family": [("boy", "girl", "he", "she")],
    }
    path.write_text("boy girl he she\n")
    with pytest.raises(DataError, match="line 1: expected ': section' or four words"):
        read_analogies(path)
    path.write_text("word1,word2,score\nTiger,cat,7.35\n")
    assert read_word_pairs(path) == [("tiger", "cat", 7.35)]
    path.write_text("tiger cat 7\ntiger cat\n")
    with pytest.raises(DataError, match="line 2: expected two words and a number"):
        read_word_pairs(path)
