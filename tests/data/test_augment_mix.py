"""Mixup and CutMix: images and labels are mixed by the same shares."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from cnn_jax.data import cutmix, mixup
from cnn_jax.data.augment.mix import blend, paste
from tests.tolerance import assert_close

# Image i is i everywhere and has class i, so that pixels tell whose they are.
COUNT = 5
IMAGES = jnp.broadcast_to(jnp.arange(COUNT, dtype=jnp.float32)[:, None, None, None], (5, 6, 8, 3))
LABELS = jnp.eye(COUNT)
PARTNERS = np.arange(COUNT)[::-1]


def keys(count):
    return jax.random.split(jax.random.key(0), count)


def test_a_mixture_by_hand():
    values = jnp.array([[0.0, 1.0], [1.0, 0.0]])
    assert_close(blend(values, 0.75), np.array([[0.25, 0.75], [0.75, 0.25]]), rtol=1e-6)


@pytest.mark.parametrize("mix", [mixup(0.4), cutmix(1.0)], ids=repr)
def test_images_are_mixed_as_their_labels_say(mix):
    changed, mix = 0, jax.jit(mix)
    for key in keys(30):
        images, labels = mix(key, IMAGES, LABELS)
        assert images.shape == IMAGES.shape and labels.shape == LABELS.shape
        assert_close(labels.sum(axis=1), np.ones(COUNT), rtol=1e-6)
        # Both sides are the share of example i and that of its partner.
        expected = np.asarray(labels) @ np.arange(COUNT)
        assert_close(np.asarray(images).mean(axis=(1, 2, 3)), expected, rtol=1e-5)
        # One lambda for the batch, so that a pair exchanges what it gives.
        own = np.asarray(labels)[np.arange(COUNT), np.arange(COUNT)]
        assert_close(own[[0, 1, 3, 4]], np.full(4, own[0]), rtol=1e-6)
        assert_close(own[2], 1.0, rtol=1e-6)  # its own partner
        changed += own[0] < 0.999
    assert changed > 20


def test_cutmix_replaces_a_box_and_labels_have_its_exact_area():
    areas, mix = [], jax.jit(cutmix())
    box = jax.jit(lambda key: cutmix().box(key, 6, 8))
    for key in keys(40):
        images, labels = mix(key, IMAGES, LABELS)
        x0, y0, x1, y1 = box(key).tolist()
        assert 0 <= x0 <= x1 <= 8 and 0 <= y0 <= y1 <= 6
        expected = np.array(IMAGES)
        expected[:, y0:y1, x0:x1] = np.asarray(IMAGES)[PARTNERS, y0:y1, x0:x1]
        np.testing.assert_array_equal(images, expected)
        areas.append((x1 - x0) * (y1 - y0) / 48)
        assert_close(float(labels[0, 4]), areas[-1], rtol=1e-6)
    assert len(set(areas)) > 6


def test_pasting_by_hand():
    images, kept = paste(IMAGES[:2], jnp.array([2, 1, 5, 3]))
    assert_close(kept, 1 - 6 / 48, rtol=1e-6)
    assert float(images[0].sum()) == 3 * 6 and float(images[1].sum()) == 3 * (48 - 6)
    assert float(images[0, 1, 2, 0]) == 1 and float(images[0, 3, 2, 0]) == 0


def test_cutmix_boxes_have_the_shares_of_beta():
    boxes = np.asarray(jax.jit(jax.vmap(lambda key: cutmix().box(key, 100, 200)))(keys(3_000)))
    widths, heights = boxes[:, 2] - boxes[:, 0], boxes[:, 3] - boxes[:, 1]
    inside = (boxes[:, 0] > 0) & (boxes[:, 1] > 0) & (boxes[:, 2] < 200) & (boxes[:, 3] < 100)
    # Of the image's shape, but for the two pixels that are lost in halving.
    assert np.abs(widths - 2 * heights)[inside].max() <= 4
    small = widths * heights < 0.01 * 20_000
    assert 0.005 < small.mean() < 0.03  # lambda is uniform: one in a hundred, and those cut off


def test_a_mixture_is_a_function_of_the_key():
    for mix in (mixup(), cutmix()):
        first, again, second = (
            jax.jit(mix)(keys(2)[number], IMAGES, LABELS) for number in (0, 0, 1)
        )
        assert_close(again, first, rtol=0, atol=0)
        assert np.any(np.asarray(first[1]) != np.asarray(second[1]))


@pytest.mark.parametrize(("alpha", "low", "high"), [(0.2, 0.3, 0.5), (8.0, 0.05, 0.15)])
def test_a_small_alpha_mixes_little(alpha, low, high):
    one = jax.vmap(lambda key: mixup(alpha)(key, IMAGES[:, :1, :1], LABELS)[1][0, 0])
    share = jax.jit(one)(keys(2_000))
    assert abs(float(share.mean()) - 0.5) < 0.06
    assert low < float(share.std()) < high


@pytest.mark.parametrize(("mix", "name"), [(mixup, "mixup"), (cutmix, "cutmix")])
def test_wrong_arguments_are_named(mix, name):
    with pytest.raises(ValueError, match=f"{name}: alpha=0, expected more than 0"):
        mix(0)
