"""Losses: what they say of likelihood, extreme outputs, and inputs that are wrong.

Their values and gradients are compared with PyTorch's in tests/layers/test_parity.py.
"""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from cnn_jax import tasks
from tests.tolerance import assert_close

RNG = np.random.default_rng(0)
LOGITS = RNG.normal(size=(6, 4)) * 3
LABELS = np.array([2, 1, 0, 1, 3, 2], np.int32)
SOFT = RNG.dirichlet(np.ones(4), size=6)
SIGNS = np.where(RNG.random((6, 4)) < 0.5, -1, 1).astype(np.int32)

# Op by op, each operation would be compiled for every shape.
OF_OUTPUTS = {
    "squared": jax.jit(tasks.squared_error),
    "absolute": jax.jit(tasks.absolute_error),
    "huber": jax.jit(tasks.huber_loss),
    "logistic": jax.jit(tasks.logistic_loss),
    "bce": jax.jit(tasks.binary_cross_entropy),
    "hinge": jax.jit(tasks.hinge_loss),
}
OF_CLASSES = {
    "softmax": jax.jit(tasks.softmax_cross_entropy),
    "multiclass hinge": jax.jit(tasks.multiclass_hinge_loss),
    "one-versus-rest": jax.jit(tasks.one_versus_rest_logistic_loss),
    "one-hot squared": jax.jit(tasks.one_hot_squared_error),
}


def wide(*arrays):
    return [jnp.asarray(array) for array in arrays]


# Maximum likelihood.


def test_softmax_cross_entropy_is_the_negative_log_likelihood():
    with jax.enable_x64(True):
        logits, labels = wide(LOGITS, LABELS)
        p = np.asarray(tasks.softmax(logits))
        assert_close(p.sum(1), np.ones(6))
        likelihood = np.prod(p[np.arange(6), LABELS])
        assert_close(tasks.softmax_cross_entropy(logits, labels).sum(), -np.log(likelihood))


def test_maximum_likelihood_of_soft_labels_is_cross_entropy():
    with jax.enable_x64(True):
        logits, soft = wide(LOGITS, SOFT)
        expected = -(SOFT * np.log(np.asarray(tasks.softmax(logits)))).sum(1)
        assert_close(tasks.softmax_cross_entropy(logits, soft), expected)
        # Kullback-Leibler divergence plus entropy: least where the model's are the labels.
        entropy = -(SOFT * np.log(SOFT)).sum(1)
        assert_close(tasks.softmax_cross_entropy(jnp.log(soft), soft), entropy)


def test_logistic_loss_is_the_negative_log_likelihood_and_binary_cross_entropy():
    with jax.enable_x64(True):
        f, y = wide(LOGITS, SIGNS)
        p = np.asarray(tasks.sigmoid(f))
        likelihood = np.where(SIGNS > 0, p, 1 - p)
        assert_close(tasks.logistic_loss(f, y), -np.log(likelihood).sum(1))
        assert_close(tasks.logistic_loss(f, y), tasks.binary_cross_entropy(f, (y + 1) // 2))


def test_logistic_loss_is_softmax_of_two_classes():
    with jax.enable_x64(True):
        f, y = wide(LOGITS[:, 0], SIGNS[:, 0])
        two = jnp.stack([jnp.zeros(6), f], axis=1)
        assert_close(tasks.logistic_loss(f, y), tasks.softmax_cross_entropy(two, (y + 1) // 2))


def test_squared_error_is_gaussian_negative_log_likelihood():
    """Of variance 1/2; the constant is log(pi) / 2 an output."""
    variance = 0.5
    errors = LOGITS - SOFT
    density = np.exp(-(errors**2) / (2 * variance)) / np.sqrt(2 * np.pi * variance)
    with jax.enable_x64(True):
        loss = tasks.squared_error(*wide(LOGITS, SOFT))
    assert_close(np.asarray(loss) + 4 * np.log(np.pi) / 2, -np.log(density).sum(1))


def test_absolute_error_is_laplacian_negative_log_likelihood():
    with jax.enable_x64(True):
        loss = tasks.absolute_error(*wide(LOGITS, SOFT))
    density = np.exp(-np.abs(LOGITS - SOFT)) / 2
    assert_close(np.asarray(loss) + 4 * np.log(2), -np.log(density).sum(1))


# Several classes by other losses.


def test_one_versus_rest_adds_binary_losses_up():
    signs = np.where(np.eye(4)[LABELS] > 0, 1, -1)
    with jax.enable_x64(True):
        f, labels = wide(LOGITS, LABELS)
        by_class = [tasks.logistic_loss(f[:, k], jnp.asarray(signs[:, k])) for k in range(4)]
        assert_close(tasks.one_versus_rest_logistic_loss(f, labels), sum(by_class))
        squared = ((LOGITS - np.eye(4)[LABELS]) ** 2).sum(1)
        assert_close(tasks.one_hot_squared_error(f, labels), squared)


def test_multiclass_hinge_is_of_crammer_and_singer():
    f = np.array([[3.0, 1.0, 2.5], [0.0, 0.0, 0.0], [1.0, 5.0, 2.0], [1.0, 5.0, 2.0]])
    y = np.array([0, 1, 1, 0], np.int32)
    with jax.enable_x64(True):
        assert_close(tasks.multiclass_hinge_loss(*wide(f, y)), np.array([0.5, 1.0, 0.0, 5.0]))
        optaxs = optax.losses.multiclass_hinge_loss(*wide(LOGITS, LABELS))
        assert_close(tasks.multiclass_hinge_loss(*wide(LOGITS, LABELS)), optaxs)


def test_multiclass_hinge_of_two_classes_is_the_hinge_of_half_their_difference():
    with jax.enable_x64(True):
        f, y = wide(LOGITS[:, :2], (SIGNS[:, 0] + 1) // 2)
        binary = tasks.hinge_loss(f[:, 1] - f[:, 0], jnp.asarray(SIGNS[:, 0]))
        assert_close(tasks.multiclass_hinge_loss(f, y), binary)


@pytest.mark.parametrize("label", range(4))
def test_gradient_of_multiclass_hinge_among_equal_outputs(label):
    """It pushes the label up and one other class down, also where all start at zero."""
    gradient = jax.grad(lambda f: tasks.multiclass_hinge_loss(f, jnp.array([label])).sum())(
        jnp.zeros((1, 4))
    )[0]
    assert gradient[label] == -1
    assert sorted(np.asarray(gradient)) == [-1, 0, 0, 1]


@pytest.mark.parametrize("name", OF_CLASSES)
def test_a_soft_label_of_one_class_is_that_class(name):
    with jax.enable_x64(True):
        f, labels, one_hot = wide(LOGITS, LABELS, np.eye(4)[LABELS])
        assert_close(OF_CLASSES[name](f, one_hot), OF_CLASSES[name](f, labels))


@pytest.mark.parametrize("name", ["softmax", "multiclass hinge", "one-versus-rest"])
def test_the_loss_of_a_soft_label_is_the_expectation(name):
    """As mixup wants it: a share of the loss of one label, and the rest of the other's."""
    with jax.enable_x64(True):
        f, a, b = wide(LOGITS, LABELS, LABELS[::-1].copy())
        mixed = 0.3 * jax.nn.one_hot(a, 4) + 0.7 * jax.nn.one_hot(b, 4)
        expected = 0.3 * OF_CLASSES[name](f, a) + 0.7 * OF_CLASSES[name](f, b)
        assert_close(OF_CLASSES[name](f, mixed), expected)


def test_equals_optax():
    with jax.enable_x64(True):
        f, y, signs = wide(LOGITS, SOFT, SIGNS)
        pairs = [
            (tasks.squared_error(f, y), optax.losses.squared_error(f, y).sum(1)),
            (tasks.hinge_loss(f, signs), optax.losses.hinge_loss(f, signs).sum(1)),
            (
                tasks.softmax_cross_entropy(f, jnp.asarray(LABELS)),
                optax.losses.softmax_cross_entropy_with_integer_labels(f, jnp.asarray(LABELS)),
            ),
        ]
    for ours, optaxs in pairs:
        assert_close(ours, optaxs)


# Label smoothing.


def test_label_smoothing_worked_out_by_hand():
    uniform = tasks.softmax_cross_entropy(jnp.zeros((1, 10)), jnp.array([3]))
    assert_close(uniform, np.array([np.log(10)]), rtol=1e-6)
    # torch.nn.functional.cross_entropy(tensor([[1., 2., 3.]]), tensor([2]), label_smoothing=0.1)
    smooth = tasks.softmax_cross_entropy(
        jnp.array([[1.0, 2.0, 3.0]]), jnp.array([2]), label_smoothing=0.1
    )
    assert_close(smooth, np.array([0.5076060]), rtol=1e-6)


@pytest.mark.parametrize("smoothing", [0.0, 0.1, 1.0])
def test_gradient_of_softmax_is_probability_minus_target(smoothing):
    with jax.enable_x64(True):
        gradient = jax.grad(
            lambda f: tasks.softmax_cross_entropy(
                f, jnp.asarray(LABELS), label_smoothing=smoothing
            ).sum()
        )(jnp.asarray(LOGITS))
        targets = np.eye(4)[LABELS] * (1 - smoothing) + smoothing / 4
        assert_close(gradient, np.asarray(tasks.softmax(jnp.asarray(LOGITS))) - targets)


# Extreme outputs: name, outputs, target, loss, gradient.
EXTREME = [
    ("squared", [1e4], [-1e4], 4e8, [4e4]),
    ("absolute", [1e4], [-1e4], 2e4, [1]),
    ("absolute", [2.0], [2.0], 0, [0]),
    ("huber", [1e4], [0.0], 1e4 - 0.5, [1]),
    ("huber", [0.0], [0.0], 0, [0]),
    ("logistic", [1e4], [1], 0, [0]),
    ("logistic", [-1e4], [1], 1e4, [-1]),
    ("logistic", [1e4], [-1], 1e4, [1]),
    ("logistic", [-1e4, 0.0], [-1, 1], np.log(2), [0, -0.5]),
    ("bce", [1e4], [1.0], 0, [0]),
    ("bce", [-1e4], [1.0], 1e4, [-1]),
    ("bce", [1e4], [0.0], 1e4, [1]),
    ("bce", [-1e4], [0.25], 2500, [-0.25]),
    ("hinge", [1e4], [1], 0, [0]),
    ("hinge", [-1e4], [1], 1e4 + 1, [-1]),
    ("hinge", [1.0], [1], 0, [0]),
    ("softmax", [1e4, -1e4, 0.0], 0, 0, [0, 0, 0]),
    ("softmax", [1e4, -1e4, 0.0], 1, 2e4, [1, -1, 0]),
    ("softmax", [-1e4, 1e4, 1e4], 2, np.log(2), [0, 0.5, -0.5]),
    ("softmax", [-np.inf, 0.0, 0.0], 2, np.log(2), [0, 0.5, -0.5]),
    ("softmax", [1e4, -1e4], [0.75, 0.25], 5000, [0.25, -0.25]),
    ("multiclass hinge", [1e4, -1e4, 0.0], 0, 0, [0, 0, 0]),
    ("multiclass hinge", [1e4, -1e4, 0.0], 1, 2e4 + 1, [1, -1, 0]),
    ("multiclass hinge", [0.0, -np.inf], 0, 0, [0, 0]),
    ("one-versus-rest", [1e4, -1e4], 0, 0, [0, 0]),
    ("one-versus-rest", [1e4, -1e4], 1, 2e4, [1, -1]),
    ("one-hot squared", [1e4, -1e4], 1, 1e8 + (1e4 + 1) ** 2, [2e4, -2e4 - 2]),
]


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize(("name", "outputs", "target", "loss", "gradient"), EXTREME)
def test_exact_at_extreme_outputs(name, outputs, target, loss, gradient, dtype):
    function = (OF_OUTPUTS | OF_CLASSES)[name]
    with jax.enable_x64(dtype == np.float64):
        f, y = jnp.asarray([outputs], dtype), jnp.asarray([target])
        value, slope = jax.jit(jax.value_and_grad(lambda f: function(f, y).sum()))(f)
    assert value.dtype == slope.dtype == dtype
    # float32 has seven digits, and log 2 is the only number here that is not exact in it.
    assert_close(value, loss, rtol=2e-7 if dtype == np.float32 else 1e-15, atol=0)
    assert_close(slope[0], np.array(gradient, np.float64), rtol=2e-7, atol=0)


# Sizes and shapes.


@pytest.mark.parametrize("name", OF_OUTPUTS)
@pytest.mark.parametrize("shape", [(), (3,), (4, 5, 2)])
def test_a_loss_is_summed_over_the_outputs_of_each_example(name, shape):
    f, y = RNG.normal(size=(5, *shape)), np.sign(RNG.normal(size=(5, *shape)))
    with jax.enable_x64(True):
        losses = OF_OUTPUTS[name](*wide(f, y))
        flat = OF_OUTPUTS[name](*wide(f.reshape(-1), y.reshape(-1)))
    assert losses.shape == (5,)
    assert_close(losses, np.asarray(flat).reshape(5, -1).sum(1))


@pytest.mark.parametrize("n", [0, 1])
@pytest.mark.parametrize("name", OF_OUTPUTS | OF_CLASSES)
def test_empty_batch_and_batch_of_one(name, n):
    function = (OF_OUTPUTS | OF_CLASSES)[name]
    f = jnp.asarray(LOGITS[:n], jnp.float32)
    targets = [LABELS, SOFT.astype(np.float32)] if name in OF_CLASSES else [SIGNS]
    for y in targets:
        losses, pullback = jax.vjp(lambda f, y=y: function(f, jnp.asarray(y[:n])), f)
        (gradient,) = pullback(jnp.ones(n))
        assert losses.shape == (n,) and gradient.shape == (n, 4)
        assert jnp.all(jnp.isfinite(losses)) and jnp.all(jnp.isfinite(gradient))


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("name", OF_OUTPUTS | OF_CLASSES)
def test_a_bad_output_is_seen_and_spoils_no_other_example(name, bad):
    function = (OF_OUTPUTS | OF_CLASSES)[name]
    y = jnp.asarray(LABELS if name in OF_CLASSES else SIGNS)
    f = jnp.asarray(LOGITS, jnp.float32)
    spoiled = f.at[2, 0].set(bad)
    actual, expected = np.asarray(function(spoiled, y)), np.asarray(function(f, y))
    others = np.arange(6) != 2
    assert np.array_equal(actual[others], expected[others])
    assert np.isnan(actual[2]) or not np.isnan(bad)


@pytest.mark.parametrize("label", [-1, 4])
@pytest.mark.parametrize("name", OF_CLASSES)
def test_a_label_that_is_no_class_gives_nan(name, label):
    losses = OF_CLASSES[name](jnp.zeros((2, 4)), jnp.array([label, 3]))
    assert np.isnan(losses[0]) and np.isfinite(losses[1])


@pytest.mark.parametrize("name", OF_OUTPUTS | OF_CLASSES)
def test_dtypes_are_not_promoted(name):
    function = (OF_OUTPUTS | OF_CLASSES)[name]
    y = LABELS if name in OF_CLASSES else SIGNS
    with jax.numpy_dtype_promotion("strict"):
        losses = function(jnp.asarray(LOGITS, jnp.float32), jnp.asarray(y))
    assert losses.dtype == np.float32


@pytest.mark.usefixtures("no_shape_hook")
@pytest.mark.parametrize("name", OF_OUTPUTS)
def test_targets_of_another_shape(name):
    with pytest.raises(ValueError, match=r"outputs of shape \(5, 1\) .* got \(5,\)"):
        OF_OUTPUTS[name](jnp.zeros((5, 1)), jnp.zeros(5))


@pytest.mark.usefixtures("no_shape_hook")
@pytest.mark.parametrize("name", OF_CLASSES)
@pytest.mark.parametrize(
    "labels", [np.zeros(5, np.float32), np.zeros((5, 1), np.int32), np.zeros(4, np.int32)]
)
def test_labels_of_another_shape_or_dtype(name, labels):
    with pytest.raises(ValueError, match=rf"integers of shape \(5,\).*got {labels.dtype} of"):
        OF_CLASSES[name](jnp.zeros((5, 3)), jnp.asarray(labels))


def test_settings_out_of_range():
    labels = jnp.zeros(5, jnp.int32)
    with pytest.raises(ValueError, match="delta must be positive, got 0"):
        tasks.huber_loss(jnp.zeros(5), jnp.zeros(5), delta=0)
    with pytest.raises(ValueError, match="between 0 and 1, got 1.5"):
        tasks.softmax_cross_entropy(jnp.zeros((5, 3)), labels, label_smoothing=1.5)
    with pytest.raises(ValueError, match=r"two classes or more, got outputs \(5, 1\)"):
        tasks.multiclass_hinge_loss(jnp.zeros((5, 1)), labels)
