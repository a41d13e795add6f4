from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from cnn_jax.layers import match_anchors, match_every_truth, pairwise_iou, sample_balanced
from cnn_jax.layers.matching import BELOW, BETWEEN
from tests.layers.detection import drawn_boxes, torchvision  # noqa: F401 (a fixture)

QUALITY = jnp.array(
    [
        [0.9, 0.5, 0.1, 0.3, 0.3],
        [0.2, 0.6, 0.1, 0.4, 0.1],
        [0.0, 0.0, 0.0, 0.2, 0.2],
    ]
)


def test_matches_by_hand():
    match = partial(match_anchors, QUALITY, 0.6, 0.4)
    assert match().tolist() == [0, 1, BELOW, BETWEEN, BELOW]
    # Anchors 3 and 4 are equally the best of box 2, and have their own best boxes.
    assert match(low_quality=True).tolist() == [0, 1, BELOW, 1, 0]
    mask = jnp.array([False, True, False])
    assert match(mask=mask, low_quality=True).tolist() == [BELOW, 1, BELOW, BETWEEN, BELOW]
    for nothing in (match(mask=jnp.zeros(3, bool)), match_anchors(QUALITY[:0], 0.6, 0.4)):
        assert nothing.tolist() == [BELOW] * 5
    with pytest.raises(ValueError, match="low must be at most high, got low=0.7 and high=0.5"):
        match_anchors(QUALITY, 0.5, 0.7)


def test_every_truth_has_its_best_anchor():
    matches = jnp.full(5, BELOW)
    assert match_every_truth(matches, QUALITY).tolist() == [0, 1, BELOW, 2, BELOW]
    mask = jnp.array([True, False, True])
    assert match_every_truth(matches, QUALITY, mask=mask).tolist() == [0, -1, -1, 2, -1]
    # The last of two boxes with the same best anchor has it.
    assert match_every_truth(matches, QUALITY[jnp.array([0, 0])]).tolist() == [1, -1, -1, -1, -1]


@pytest.mark.parametrize("low_quality", [False, True])
def test_equals_torchvision(torchvision, low_quality):  # noqa: F811
    import torch
    from torchvision.models.detection._utils import Matcher

    rng, most = np.random.default_rng(0), 12
    match = jax.jit(
        lambda quality, mask: match_anchors(quality, 0.5, 0.4, mask=mask, low_quality=low_quality)
    )
    reference = Matcher(0.5, 0.4, allow_low_quality_matches=low_quality)
    with jax.enable_x64(True):
        for case in range(250):
            truths, anchors = drawn_boxes(rng, most), drawn_boxes(rng, 40)
            quality = np.array(pairwise_iou(truths, anchors))
            if case % 2:
                quality = np.round(quality, 1)  # ties
            number = int(rng.integers(most + 1))
            actual = match(quality, np.arange(most) < number)
            expected = np.full(40, BELOW)
            if number:
                expected = reference(torch.tensor(quality[:number])).numpy()
            np.testing.assert_array_equal(actual, expected)


def test_a_sample_is_balanced_and_random():
    labels = jnp.array([1, 0, -1, 0, 2, 1, 0, 0, -1, 0])
    draw = jax.jit(partial(sample_balanced, number=6, positive_fraction=0.5))
    seen = set()
    for seed in range(20):
        indices, mask = draw(jax.random.key(seed), labels)
        assert mask.all() and len(set(indices.tolist())) == 6
        assert sum(labels[i] >= 1 for i in indices.tolist()) == 3
        assert sum(labels[i] == 0 for i in indices.tolist()) == 3
        seen |= set(indices.tolist())
    assert seen == set(np.flatnonzero(labels >= 0))


def test_a_sample_of_few():
    labels = jnp.array([-1, 1, 0, -1, -1])
    indices, mask = sample_balanced(jax.random.key(0), labels, 4, 0.25)
    assert indices.tolist()[:2] == [1, 2] and mask.tolist() == [True, True, False, False]
    # No positives: negatives fill the sample; fewer elements than asked for.
    indices, mask = sample_balanced(jax.random.key(0), jnp.zeros(3), 8, 0.5)
    assert indices.tolist() == [0, 1, 2] and mask.all()
