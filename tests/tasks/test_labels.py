"""Class weights, labels that do not count, focal loss, and labels that are no class."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from cnn_jax import tasks
from cnn_jax.errors import ConfigError
from cnn_jax.tasks import (
    accuracy,
    balanced_class_weights,
    binary_cross_entropy,
    calibration_sums,
    confusion_counts,
    label_weights,
    multiclass_hinge_loss,
    one_hot_squared_error,
    one_versus_rest_logistic_loss,
    sigmoid_focal_loss,
    softmax_cross_entropy,
    softmax_focal_loss,
    top_k_accuracy,
)
from tests.tolerance import assert_close

IGNORED = 255
WEIGHTS = (0.5, 2.0, 0.0, 1.25)
CLASS_LOSSES = [
    softmax_cross_entropy,
    softmax_focal_loss,
    multiclass_hinge_loss,
    one_versus_rest_logistic_loss,
    one_hot_squared_error,
]
SPACES = [(), (3, 2)]
"""Of images and of pixels."""


def draw(space, ignored=True):
    """Outputs and labels, of which some are ignored."""
    rng = np.random.default_rng(0)
    labels = rng.integers(4, size=(6, *space))
    if ignored:
        labels.ravel()[::4] = IGNORED
    return 3 * rng.standard_normal((6, *space, 4)), labels


def weighted_mean(outputs, labels, loss=softmax_cross_entropy, smoothing=None, **settings):
    options = {} if smoothing is None else {"label_smoothing": smoothing}
    total = jnp.sum(loss(outputs, labels, **options, **settings))
    return total / jnp.sum(label_weights(outputs, labels, **settings))


@pytest.mark.parametrize("space", SPACES)
@pytest.mark.parametrize("smoothing", [0.0, 0.2])
def test_the_weighted_mean_is_the_definition(space, smoothing):
    outputs, labels = draw(space)
    log_p = outputs - np.log(np.exp(outputs).sum(-1, keepdims=True))
    total = weight = 0.0
    for place in np.ndindex(labels.shape):
        if labels[place] != IGNORED:
            target = (1 - smoothing) * np.eye(4)[labels[place]] + smoothing / 4
            total -= np.sum(np.array(WEIGHTS) * target * log_p[place])
            weight += WEIGHTS[labels[place]]
    with jax.enable_x64(True):
        actual = weighted_mean(
            jnp.asarray(outputs),
            jnp.asarray(labels),
            smoothing=smoothing,
            class_weights=WEIGHTS,
            ignore_index=IGNORED,
        )
    assert_close(actual, total / weight)


@pytest.mark.parametrize("space", SPACES)
@pytest.mark.parametrize(("smoothing", "weights"), [(0.0, WEIGHTS), (0.1, WEIGHTS), (0.1, None)])
def test_the_weighted_mean_and_its_gradient_equal_pytorch_s(space, smoothing, weights):
    torch = pytest.importorskip("torch")
    outputs, labels = draw(space)
    theirs = torch.tensor(np.moveaxis(outputs, -1, 1), requires_grad=True)
    expected = torch.nn.functional.cross_entropy(
        theirs,
        torch.tensor(labels),
        weight=None if weights is None else torch.tensor(weights, dtype=torch.float64),
        ignore_index=IGNORED,
        label_smoothing=smoothing,
    )
    expected.backward()
    with jax.enable_x64(True):
        actual, gradient = jax.value_and_grad(weighted_mean)(
            jnp.asarray(outputs),
            jnp.asarray(labels),
            smoothing=smoothing,
            class_weights=weights,
            ignore_index=IGNORED,
        )
    assert_close(actual, expected.item())
    assert_close(gradient, np.moveaxis(theirs.grad.numpy(), 1, -1))


def test_the_mean_over_soft_labels_is_over_examples():
    """As PyTorch's, though the classes have weights."""
    outputs = jnp.log(jnp.array([[0.5, 0.5], [0.2, 0.8]]))
    soft = jnp.array([[0.25, 0.75], [1.0, 0.0]])
    losses = softmax_cross_entropy(outputs, soft, class_weights=(2.0, 4.0))
    expected = [-(2 * 0.25 + 4 * 0.75) * np.log(0.5), -2 * np.log(0.2)]
    assert_close(losses, np.array(expected), rtol=1e-6)
    np.testing.assert_array_equal(label_weights(outputs, soft, class_weights=(2.0, 4.0)), [1, 1])


@pytest.mark.parametrize("loss", CLASS_LOSSES)
def test_an_ignored_label_has_no_loss_and_no_gradient(loss):
    """Whatever number it is: also one of a class."""
    outputs, labels = draw((3, 2), ignored=False)
    for ignored in (IGNORED, -100, 2):
        marked = np.where(labels == 2, ignored, labels)
        kept = marked != ignored
        losses, pullback = jax.vjp(
            lambda x, marked=marked, ignored=ignored: loss(
                x, jnp.asarray(marked), ignore_index=ignored
            ),
            jnp.asarray(outputs, jnp.float32),
        )
        (gradient,) = pullback(jnp.ones_like(losses))
        assert losses.shape == labels.shape
        assert not np.any(losses[~kept]) and not np.any(gradient[~kept])
        of_kept = loss(jnp.asarray(outputs[kept], jnp.float32), jnp.asarray(labels[kept]))
        assert_close(losses[kept], of_kept, rtol=1e-6)


def test_focal_loss_is_the_papers():
    outputs, labels = draw(())
    kept = labels != IGNORED
    p = (np.exp(outputs) / np.exp(outputs).sum(-1, keepdims=True))[kept, labels[kept]]
    alpha = np.array(WEIGHTS)[labels[kept]]
    with jax.enable_x64(True):
        losses = softmax_focal_loss(
            jnp.asarray(outputs),
            jnp.asarray(labels),
            gamma=1.5,
            class_weights=WEIGHTS,
            ignore_index=IGNORED,
        )
        few = jnp.asarray(outputs[kept]), jnp.asarray(labels[kept])
        without = softmax_focal_loss(*few, gamma=0)
        entropy = softmax_cross_entropy(*few)
    assert_close(np.asarray(losses)[kept], -alpha * (1 - p) ** 1.5 * np.log(p))
    assert_close(without, entropy)


@pytest.mark.parametrize(("alpha", "gamma"), [(0.25, 2.0), (None, 0.5), (0.7, 0.0)])
def test_sigmoid_focal_loss_is_torchvision_s(alpha, gamma):
    """Written as `torchvision.ops.sigmoid_focal_loss`, where None is -1."""
    rng = np.random.default_rng(0)
    logits, targets = 3 * rng.standard_normal((5, 7)), rng.integers(2, size=(5, 7))
    p = 1 / (1 + np.exp(-logits))
    entropy = -(targets * np.log(p) + (1 - targets) * np.log(1 - p))
    p_t = p * targets + (1 - p) * (1 - targets)
    expected = entropy * (1 - p_t) ** gamma
    if alpha is not None:
        expected *= alpha * targets + (1 - alpha) * (1 - targets)
    with jax.enable_x64(True):
        arrays = jnp.asarray(logits), jnp.asarray(targets)
        losses = sigmoid_focal_loss(*arrays, alpha=alpha, gamma=gamma)
        assert_close(losses, expected.sum(1))
        if gamma == 0 and alpha is None:
            assert_close(losses, binary_cross_entropy(*arrays))


@pytest.mark.parametrize("gamma", [0.0, 0.5, 2.0])
def test_focal_losses_are_finite_at_extremes(gamma):
    logits = jnp.array([[1e4, -1e4], [-1e4, 1e4], [0.0, -jnp.inf], [0.0, 0.0]])
    labels = jnp.array([0, 0, 0, 1])
    both = jax.value_and_grad(lambda x: softmax_focal_loss(x, labels, gamma=gamma).sum())(logits)
    finite = logits[jnp.array([0, 1, 3])]
    targets = jnp.array([[1, 0], [1, 0], [0, 1]])
    sigmoid = jax.value_and_grad(lambda x: sigmoid_focal_loss(x, targets, gamma=gamma).sum())
    for array in jax.tree.leaves((both, sigmoid(finite))):
        assert np.isfinite(array).all()


def test_balanced_weights_are_those_of_scikit_learn():
    from sklearn.utils.class_weight import compute_class_weight

    labels = np.array([0, 0, 0, 1, 2, 2])
    expected = compute_class_weight("balanced", classes=np.arange(3), y=labels)
    assert balanced_class_weights(labels, 3) == pytest.approx(tuple(expected))
    padded = np.array([[0, 0, 0, 1], [2, 2, IGNORED, IGNORED]])
    assert balanced_class_weights(padded, 4, ignore_index=IGNORED) == pytest.approx((*expected, 0))
    with pytest.raises(ConfigError, match="need labels to count, got none"):
        balanced_class_weights(padded[:, 4:], 4)
    with pytest.raises(ConfigError, match="from 0 to 3, got 255; set ignore_index"):
        balanced_class_weights(padded, 4)


@pytest.mark.parametrize("space", SPACES)
def test_metrics_do_not_count_ignored_labels(space):
    outputs, labels = draw(space)
    kept = labels != IGNORED
    few = jnp.asarray(outputs[kept], jnp.float32), jnp.asarray(labels[kept])
    all_of_them = jnp.asarray(outputs, jnp.float32), jnp.asarray(labels)
    for metric in (accuracy, lambda *a, **o: top_k_accuracy(*a, k=2, **o)):
        values = np.asarray(metric(*all_of_them, ignore_index=IGNORED))
        assert values.shape == labels.shape and not values[~kept].any()
        np.testing.assert_array_equal(values[kept], metric(*few))
    for sums in (
        confusion_counts,
        lambda *a, **o: calibration_sums(jax.nn.softmax(a[0]), a[1], **o),
    ):
        assert_close(sums(*all_of_them, ignore_index=IGNORED), sums(*few), rtol=1e-6)


def test_the_weight_of_an_image_is_that_of_its_pixels():
    outputs, labels = draw((3, 2))
    weight = jnp.array([1.0, 0, 2, 0, 0, 1])
    arrays = jnp.asarray(outputs, jnp.float32), jnp.asarray(labels)
    counts = confusion_counts(*arrays, weight, ignore_index=IGNORED)
    assert counts.sum() == np.sum(np.asarray(weight)[:, None, None] * (labels != IGNORED))


OF_LABELS = [
    *CLASS_LOSSES,
    accuracy,
    lambda *a, **o: top_k_accuracy(*a, k=2, **o),
    confusion_counts,
    calibration_sums,
    label_weights,
]


@pytest.mark.parametrize("function", OF_LABELS)
@pytest.mark.usefixtures("no_shape_hook")
def test_labels_that_do_not_belong_to_the_outputs_are_named(function):
    outputs = jnp.ones((4, 3))
    for wrong in (-1, 3, 255):
        with pytest.raises(ConfigError, match=f"from 0 to 2, got {wrong}; set ignore_index if"):
            function(outputs, jnp.array([0, 1, wrong, 2]))
    with pytest.raises(ConfigError, match="from 0 to 2, got -1; only 255 is ignored"):
        function(outputs, jnp.array([0, 255, -1, 2]), ignore_index=255)
    for labels in (jnp.zeros((4, 1), int), jnp.zeros(4), jnp.zeros(3, int), jnp.zeros((4, 2))):
        with pytest.raises(ConfigError, match=r"outputs of shape \(4, 3\) need labels as integers"):
            function(outputs, labels)
    with pytest.raises(ConfigError, match="ignore_index 0 is for labels that are integers"):
        function(outputs, jnp.ones((4, 3)) / 3, ignore_index=0)


@pytest.mark.parametrize("loss", CLASS_LOSSES)
def test_under_jit_a_label_that_is_no_class_makes_its_loss_nan(loss):
    outputs, labels = jnp.ones((4, 3)), jnp.array([0, -1, 3, 255])
    losses = jax.jit(loss)(outputs, labels)
    np.testing.assert_array_equal(np.isnan(losses), [False, True, True, True])
    losses = jax.jit(lambda *a: loss(*a, ignore_index=255))(outputs, labels)
    np.testing.assert_array_equal(np.isnan(losses), [False, True, True, False])


def test_wrong_weights_are_named():
    outputs, labels = jnp.ones((2, 3)), jnp.array([0, 1])
    for loss in (softmax_cross_entropy, softmax_focal_loss, label_weights):
        with pytest.raises(ConfigError, match=r"class_weights must be 3 numbers.*got shape \(2,\)"):
            loss(outputs, labels, class_weights=(1.0, 2.0))
    with pytest.raises(ConfigError, match="gamma must not be negative, got -1"):
        softmax_focal_loss(outputs, labels, gamma=-1)
    with pytest.raises(ConfigError, match="alpha must be between 0 and 1, or None, got -1"):
        sigmoid_focal_loss(outputs, jnp.ones((2, 3)), alpha=-1)


NUMBERS = {"balanced_class_weights", "calibration_error", "class_scores", "rmse"}
NUMBERS |= {"border_weights", "class_overlaps", "image_scores", "median_frequency_weights"}
NUMBERS |= {"segmentation_scores", "coco_scores", "voc_scores", "box_overlaps", "mask_overlaps"}
NUMBERS |= {"bleu", "paste_masks"}
OF_SAMPLES = {"class_shares", "frechet_distance", "inception_score", "matrix_square_root"}
OF_SAMPLES |= {"precision_recall", "gradient_penalty", "real_gradient_penalty"}
OF_SAMPLES |= {"discriminator_loss", "generator_loss"}
TASKS = {name for name in tasks.__all__ if hasattr(getattr(tasks, name), "summarize")}
PLAIN = {"Detections", "Truths"}
ANY_SHAPE = {"identity", "sigmoid"}
OF_OUTPUTS = sorted({*tasks.__all__} - NUMBERS - OF_SAMPLES - TASKS - PLAIN - ANY_SHAPE)


@pytest.mark.parametrize("name", OF_OUTPUTS)
@pytest.mark.usefixtures("no_shape_hook")
def test_outputs_without_a_batch_are_answered_by_the_axes_there_must_be(name):
    function = getattr(tasks, name)
    arrays = (jnp.ones(()),) if name in ("softmax", "decision") else (jnp.ones(()), jnp.zeros(()))
    with pytest.raises(ConfigError, match=r"outputs must have the axes \[batch, .*got shape \(\)"):
        function(*arrays)


REAL = [
    "absolute_error", "binary_cross_entropy", "hinge_loss", "huber_loss", "logistic_loss",
    "sigmoid_focal_loss", "squared_error",
]  # fmt: skip


@pytest.mark.parametrize("name", [*REAL, *(loss.__name__ for loss in CLASS_LOSSES)])
def test_a_nan_reaches_the_sum_of_the_losses(name):
    outputs = jnp.ones((64, 128)).at[3, 5].set(jnp.nan)
    targets = jnp.ones((64, 128)) if name in REAL else jnp.full(64, 5)
    loss = getattr(tasks, name)
    assert jnp.isnan(jax.jit(lambda x: loss(2 * x, targets).sum())(outputs))
