"""Metrics against numpy and cases worked out by hand, and how they add up."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from cnn_jax.tasks import (
    accuracy,
    calibration_error,
    calibration_sums,
    confusion_counts,
    decision,
    identity,
    rmse,
    sigmoid,
    softmax,
    top_k_accuracy,
)
from cnn_jax.tasks.metrics import mean, sums_of_means, weighted_sums
from tests.tolerance import assert_close

RNG = np.random.default_rng(0)
OUTPUTS = jnp.asarray(RNG.normal(size=(40, 7)), jnp.float32)
LABELS = jnp.asarray(RNG.integers(7, size=40), jnp.int32)
WEIGHT = jnp.asarray(RNG.integers(2, size=40), jnp.float32)


def test_output_layers():
    assert identity(OUTPUTS) is OUTPUTS
    f = np.asarray(OUTPUTS, np.float64)
    assert_close(sigmoid(OUTPUTS), 1 / (1 + np.exp(-f)), rtol=1e-6)
    assert_close(softmax(OUTPUTS), np.exp(f) / np.exp(f).sum(1, keepdims=True), rtol=1e-6)
    extreme = jnp.array([[1e4, -1e4]])
    assert softmax(extreme).tolist() == sigmoid(extreme).tolist() == [[1, 0]]
    # Whatever the output layer, the decision is the same.
    for outputs in (OUTPUTS, sigmoid(OUTPUTS), softmax(OUTPUTS)):
        assert np.array_equal(decision(outputs), f.argmax(1))


def test_accuracy_of_hard_and_soft_labels():
    expected = np.asarray(OUTPUTS).argmax(1) == np.asarray(LABELS)
    assert 0 < expected.sum() < 40
    assert np.array_equal(accuracy(OUTPUTS, LABELS), expected)
    soft = 0.6 * jax.nn.one_hot(LABELS, 7) + 0.4 * jax.nn.one_hot((LABELS + 1) % 7, 7)
    assert np.array_equal(accuracy(OUTPUTS, soft), expected)


@pytest.mark.parametrize("k", range(1, 8))
def test_top_k_accuracy(k):
    largest = np.argsort(-np.asarray(OUTPUTS), axis=1)[:, :k]
    expected = (largest == np.asarray(LABELS)[:, None]).any(1)
    assert np.array_equal(top_k_accuracy(OUTPUTS, LABELS, k), expected)


def test_equal_outputs_are_taken_in_order():
    """A model that says nothing gets no more than its share."""
    labels = jnp.arange(6)
    nothing = jnp.zeros((6, 6))
    assert accuracy(nothing, labels).tolist() == [1, 0, 0, 0, 0, 0]
    for k in (1, 2, 5):
        assert top_k_accuracy(nothing, labels, k).sum() == k


@pytest.mark.parametrize("k", [0, 8])
def test_k_must_be_a_number_of_classes(k):
    with pytest.raises(ValueError, match=f"between 1 and the 7 classes, got {k}"):
        top_k_accuracy(OUTPUTS, LABELS, k)


def test_confusion_counts():
    expected = np.zeros((7, 7))
    for true, predicted in zip(np.asarray(LABELS), np.asarray(OUTPUTS).argmax(1), strict=True):
        expected[true, predicted] += 1
    counts = confusion_counts(OUTPUTS, LABELS)
    assert np.array_equal(counts, expected)
    assert np.trace(counts) == accuracy(OUTPUTS, LABELS).sum()


def test_calibration_error_worked_out_by_hand():
    """Two bins of 15 are used: (9/15, 10/15] and (14/15, 1]; the edge belongs to the lower bin."""
    confidence = np.array([0.65, 0.65, 10 / 15, 0.95, 1.0])
    correct = np.array([1, 0, 0, 1, 1])
    p = np.stack([confidence, 1 - confidence], axis=1)
    with jax.enable_x64(True):
        sums = calibration_sums(jnp.asarray(p), jnp.asarray(1 - correct))
    assert sums["weight"].tolist() == [0] * 9 + [3, 0, 0, 0, 0, 2]
    low = abs(1 / 3 - (0.65 + 0.65 + 10 / 15) / 3)
    high = abs(1 - (0.95 + 1.0) / 2)
    assert calibration_error(sums) == pytest.approx(3 / 5 * low + 2 / 5 * high, abs=1e-12)


def test_calibration_error_is_that_of_guo_et_al():
    """Their definition, bin by bin, with another number of bins."""
    p = np.asarray(softmax(2 * OUTPUTS), np.float64)
    confidence, correct = p.max(1), p.argmax(1) == np.asarray(LABELS)
    expected = 0.0
    for m in range(10):
        inside = (confidence > m / 10) & (confidence <= (m + 1) / 10)
        if inside.any():
            gap = abs(correct[inside].mean() - confidence[inside].mean())
            expected += inside.mean() * gap
    with jax.enable_x64(True):
        sums = calibration_sums(jnp.asarray(p), LABELS, bins=10)
    assert calibration_error(sums) == pytest.approx(expected, abs=1e-12)


def test_a_calibrated_and_a_sure_model():
    half = jnp.tile(jnp.array([[0.5, 0.5]]), (8, 1))
    labels = jnp.arange(8) % 2
    assert calibration_error(calibration_sums(half, labels)) == 0
    sure = jnp.tile(jnp.array([[1.0, 0.0]]), (8, 1))
    assert calibration_error(calibration_sums(sure, labels)) == 0.5


def test_rmse_and_mean():
    assert rmse(np.float64(8), np.float64(2)) == 2
    assert mean(3.0, 4.0) == 0.75
    assert mean(0.0, 0.0) == rmse(0.0, 0.0) == 0


def everything(outputs, labels, weight):
    return {
        "confusion": confusion_counts(outputs, labels, weight),
        "calibration": calibration_sums(softmax(outputs), labels, weight),
        "means": weighted_sums(
            weight, top1=accuracy(outputs, labels), top3=top_k_accuracy(outputs, labels, 3)
        ),
    }


def test_batches_and_devices_add_up_and_weight_zero_counts_for_nothing():
    whole = everything(OUTPUTS, LABELS, WEIGHT)
    kept = np.asarray(WEIGHT) > 0
    rest = everything(OUTPUTS[kept], LABELS[kept], WEIGHT[kept])
    parts = [everything(OUTPUTS[i], LABELS[i], WEIGHT[i]) for i in np.split(np.arange(40), [1, 18])]
    added = jax.tree.map(lambda *sums: sum(sums), *parts)
    devices = jax.pmap(lambda *batch: jax.lax.psum(everything(*batch), "data"), "data")(
        *(array.reshape(8, 5, *array.shape[1:]) for array in (OUTPUTS, LABELS, WEIGHT))
    )
    for other in (rest, added, jax.tree.map(lambda a: a[0], devices)):
        assert_close(other, whole, rtol=1e-6)
        # Counts are exact.
        assert np.array_equal(other["confusion"], whole["confusion"])
        assert np.array_equal(other["means"]["top3"], whole["means"]["top3"])
    assert whole["confusion"].sum() == whole["means"]["weight"] == WEIGHT.sum()


def test_empty_batch():
    sums = everything(OUTPUTS[:0], LABELS[:0], WEIGHT[:0])
    assert all(np.all(np.asarray(a) == 0) for a in jax.tree.leaves(sums))
    assert calibration_error(sums["calibration"]) == 0


def test_means_over_the_samples_of_all_images():
    losses, counts = {"a": jnp.array([3.0, 5, 100])}, {"a": jnp.array([1, 3, 7])}
    weight = jnp.array([1.0, 1, 0])
    sums = sums_of_means(weight, losses, counts)
    # Twice the mean of four samples; the image without weight does not count.
    assert_close(sums, {"a": 2 * 8 / 4, "weight": 2.0}, rtol=1e-6)
    parts = jax.pmap(lambda w, a, n: sums_of_means(w, {"a": a}, {"a": n}), "devices")(
        weight[:, None], losses["a"][:, None], counts["a"][:, None]
    )
    assert_close(jax.tree.map(jnp.sum, parts), sums, rtol=1e-6)
    none = sums_of_means(weight, {"a": jnp.zeros(3)}, {"a": jnp.zeros(3, int)})
    assert none["a"] == 0
