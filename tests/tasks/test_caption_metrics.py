"""BLEU as in NLTK and sacreBLEU, and which words of a caption are right."""

import math

import pytest

from cnn_jax.errors import ConfigError
from cnn_jax.tasks import bleu
from cnn_jax.tasks.caption_metrics import align, right_words

CAPTIONS = [
    "a large red circle above a small blue square",
    "there is a small green triangle",
    "a purple square that is large",
    "the the the the the the the",
    "a small yellow circle left of a circle",
]
REFERENCES = [
    [
        "a large red circle above a small blue square",
        "a small blue square below a large red circle",
    ],
    [
        "one small green triangle",
        "there is a large green triangle",
        "a green triangle that is small",
    ],
    ["a small red square right of a large purple triangle"],
    ["the cat is on the mat", "there is a cat on the mat"],
    [
        "a large yellow circle is left of a small red circle",
        "a small red circle is right of a large yellow circle",
    ],
]
# With these, some captions have no runs of four words.
SHORT = ["a circle", "one large"], [["a circle that is red"], ["one large square", "a square"]]


def split(captions, references):
    return [one.split() for one in captions], [[one.split() for one in of] for of in references]


def test_bleu_is_that_of_nltk_and_sacrebleu():
    """NLTK 3.10.4, `corpus_bleu` with equal weights, and sacreBLEU 2.6.0, without smoothing."""
    expected = 0.663207376315212, 0.5308609057461078, 0.4468694479888572, 0.3806334480709863
    assert bleu(*split(CAPTIONS, REFERENCES)) == pytest.approx(expected, rel=1e-13)
    # NLTK counts a run of four words of each caption, also of a shorter one, sacreBLEU does not.
    expected = 0.6425106460339088, 0.5224354475633187, 0.4340163611535862, 0.3672562199797288
    captions, references = CAPTIONS + SHORT[0], REFERENCES + SHORT[1]
    assert bleu(*split(captions, references)) == pytest.approx(expected, rel=1e-13)


def test_bleu_worked_out_by_hand():
    # The paper's example: "the" counts twice, as in the first reference.
    captions, references = split(CAPTIONS[3:4], REFERENCES[3:4])
    assert bleu(captions, references) == pytest.approx((2 / 7, 0, 0, 0))
    # Four words of a reference of five: only the penalty is left.
    captions, references = [list("abcd")], [[list("abcde"), list("abcdefgh")]]
    assert bleu(captions, references) == pytest.approx([math.exp(1 - 5 / 4)] * 4)
    # Of references as near, the shorter one counts.
    assert bleu([list("abcd")], [[list("abcde"), list("abc")]])[0] == pytest.approx(1)
    assert bleu([[]], [[list("abc")]]) == (0, 0, 0, 0)
    assert bleu(captions, references, most=2) == pytest.approx([math.exp(1 - 5 / 4)] * 2)


def test_bleu_without_references():
    with pytest.raises(ConfigError, match="for each of 1 captions, got 1, the fewest 0"):
        bleu([["a"]], [[]])
    with pytest.raises(ConfigError, match="for each of 1 captions, got 0, the fewest 0"):
        bleu([["a"]], [])


def test_a_caption_is_compared_with_the_reference_that_is_most_like_it():
    (caption,), (references,) = split(
        ["a large red circle below a small blue circle"], [REFERENCES[0][::-1]]
    )
    aligned = align(caption, references)
    assert aligned.reference == 1
    wrong = [word for word, right in zip(caption, aligned.right, strict=True) if not right]
    missing = [word for word, said in zip(references[1], aligned.said, strict=True) if not said]
    assert (wrong, missing) == (["below", "circle"], ["above", "square"])
    # A word too few or too many moves the others.
    assert align(["a", "circle"], [["a", "red", "circle"]]).right == (True, True)
    assert align([], [["a"]]).said == (False,)


def test_the_shares_of_right_words():
    kinds = {"shape": {"circle", "square"}, "relation": {"above", "below"}, "size": {"tiny"}}
    captions, references = split(
        ["a large red circle below a small blue circle", "a square"],
        [REFERENCES[0], ["a square above a circle"]],
    )
    shares = right_words(captions, references, kinds)
    # Shapes: one of two, and one of two; relations: none of two; there is no size.
    assert shares == {"shape": 0.5, "relation": 0.0, "size": 0.0}
