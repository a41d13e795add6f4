"""Metrics of segmentation: against scikit-learn, exact over batches and devices."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cnn_jax.tasks import class_overlaps, image_scores, pixel_counts, segmentation_scores

IGNORED = 255


def drawn(seed, classes=5, present=(0, 1, 3), shape=(8, 6, 7)):
    """Outputs and labels; only some classes occur in both."""
    rng = np.random.default_rng(seed)
    labels = rng.choice([*present, IGNORED], size=shape).astype(np.int32)
    outputs = rng.normal(size=(*shape, classes)).astype(np.float32)
    outputs[..., [c for c in range(classes) if c not in present]] -= 100
    return outputs, labels


def counts_of(outputs, labels, weight=None):
    arrays = jnp.asarray(outputs), jnp.asarray(labels)
    return np.asarray(pixel_counts(*arrays, weight, ignore_index=IGNORED))


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 2**32 - 1), st.sets(st.integers(0, 4), min_size=1), st.sampled_from([0, 1]))
def test_equal_to_scikit_learn_with_ignored_pixels_and_absent_classes(seed, present, absent):
    metrics = pytest.importorskip("sklearn.metrics", reason="scikit-learn is not installed")
    outputs, labels = drawn(seed, present=tuple(present), shape=(3, 4, 5))
    counts = counts_of(outputs, labels)
    kept = labels != IGNORED
    true, predicted = labels[kept], outputs.argmax(-1)[kept]
    if not true.size:
        return
    options = {"labels": range(5), "zero_division": absent}
    matrix = metrics.confusion_matrix(true, predicted, labels=range(5))
    np.testing.assert_array_equal(counts[:-1], matrix)
    scores = segmentation_scores(counts, absent=("zero", "one")[absent])

    def macro(score):
        return score(true, predicted, average="macro", **options)

    expected = {
        "pixel_accuracy": metrics.accuracy_score(true, predicted),
        "mean_accuracy": macro(metrics.recall_score),
        "mean_iou": macro(metrics.jaccard_score),
        "frequency_weighted_iou": metrics.jaccard_score(
            true, predicted, average="weighted", **options
        ),
        "mean_dice": macro(metrics.f1_score),
    }
    assert scores == pytest.approx(expected, abs=1e-12)
    # Without the absent classes: those that occur in labels or predictions.
    there = sorted({*true.tolist(), *predicted.tolist()})
    expected = metrics.jaccard_score(true, predicted, average="macro", labels=there)
    assert segmentation_scores(counts)["mean_iou"] == pytest.approx(expected, abs=1e-12)
    found = metrics.recall_score(true, predicted, average="macro", labels=np.unique(true))
    assert segmentation_scores(counts)["mean_accuracy"] == pytest.approx(found, abs=1e-12)


def test_conventions_worked_out_by_hand():
    """Three classes, the last one absent; rows are true classes and ignored pixels."""
    counts = np.array([[3, 1, 0], [2, 4, 0], [0, 0, 0], [5, 0, 0]])
    overlaps = class_overlaps(counts)
    np.testing.assert_allclose(overlaps["iou"], [3 / 6, 4 / 7, np.nan])
    np.testing.assert_allclose(overlaps["dice"], [6 / 9, 8 / 11, np.nan])
    np.testing.assert_allclose(overlaps["accuracy"], [3 / 4, 4 / 6, np.nan])
    np.testing.assert_array_equal(overlaps["support"], [4, 6, 0])
    scores = segmentation_scores(counts)
    assert scores == pytest.approx(
        {
            "pixel_accuracy": 7 / 10,
            "mean_accuracy": (3 / 4 + 4 / 6) / 2,
            "mean_iou": (3 / 6 + 4 / 7) / 2,
            "frequency_weighted_iou": 0.4 * 3 / 6 + 0.6 * 4 / 7,
            "mean_dice": (6 / 9 + 8 / 11) / 2,
        }
    )
    wrong = segmentation_scores(counts, ignored="wrong", absent="one")
    assert wrong["mean_iou"] == pytest.approx((3 / 11 + 4 / 7 + 1) / 3)
    assert wrong["pixel_accuracy"] == 7 / 15
    assert segmentation_scores(counts, absent="zero")["mean_iou"] == pytest.approx(
        (3 / 6 + 4 / 7) / 3
    )


def test_the_mean_over_images_is_another_score_than_that_of_the_split():
    first = np.array([[4, 0], [0, 0], [0, 0]])
    second = np.array([[1, 1], [1, 1], [2, 0]])
    empty = np.array([[0, 0], [0, 0], [3, 3]])
    images = np.stack([first, second, empty])
    scores = image_scores(images)
    assert scores["mean_iou"] == pytest.approx((1 + 1 / 3) / 2)
    assert scores["pixel_accuracy"] == (1 + 1 / 2) / 2
    assert segmentation_scores(images.sum(axis=0))["mean_iou"] == pytest.approx((5 / 7 + 1 / 3) / 2)
    assert image_scores(images, absent="zero")["mean_iou"] == pytest.approx((1 / 2 + 1 / 3) / 2)
    wrong = image_scores(images, ignored="wrong", absent="one")["mean_iou"]
    assert wrong == pytest.approx((1 + (1 / 5 + 1 / 3) / 2) / 2)
    assert set(image_scores(images[:0]).values()) == {0.0}


def test_batches_and_devices_add_up_and_weight_zero_counts_for_nothing():
    outputs, labels = drawn(0)
    weight = np.array([1, 1, 0, 1, 1, 1, 0, 1], np.float32)
    whole = counts_of(outputs, labels, jnp.asarray(weight))
    kept = weight > 0
    assert whole.sum() == kept.sum() * labels[0].size
    np.testing.assert_array_equal(counts_of(outputs[kept], labels[kept]), whole)
    parts = [
        counts_of(outputs[i], labels[i], jnp.asarray(weight[i]))
        for i in np.split(np.arange(8), [1, 4])
    ]
    np.testing.assert_array_equal(sum(parts), whole)
    sharding = jax.sharding.NamedSharding(
        jax.make_mesh((8,), ("data",), axis_types=(jax.sharding.AxisType.Auto,)),
        jax.sharding.PartitionSpec("data"),
    )
    divided = [jax.device_put(array, sharding) for array in (outputs, labels, weight)]
    counts = jax.jit(lambda *a: pixel_counts(*a, ignore_index=IGNORED))(*divided)
    np.testing.assert_array_equal(counts, whole)


@pytest.mark.full
def test_more_pixels_than_float32_counts():
    """2**24 + 1 is no float32."""
    number = 2**24 + 1
    outputs = jnp.zeros((1, number, 1), jnp.bfloat16)
    counts = jax.jit(pixel_counts)(outputs, jnp.zeros((1, number), jnp.int8))
    assert counts.tolist() == [[number], [0]]


def test_nothing_to_count():
    scores = segmentation_scores(np.zeros((4, 3)))
    assert set(scores.values()) == {0.0}
