from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from jax.sharding import AxisType, NamedSharding, PartitionSpec
from jax.test_util import check_grads

from cnn_jax.layers import BatchNorm, batch_norm, gelu, normalize_batch, relu
from tests.tolerance import assert_close

DEVICES = 8


def draw(shape, seed=0):
    """Far from zero mean and unit variance."""
    return 3 + 2 * np.random.default_rng(seed).standard_normal(shape)


def variables(channels, dtype=np.float64):
    """A scale, bias and running statistics that are not the initial ones."""
    scale, bias, mean, var = draw((4, channels), seed=1).astype(dtype)
    return jax.tree.map(
        jnp.asarray,
        {
            "params": {"scale": scale, "bias": bias},
            "batch_stats": {"mean": mean, "var": np.abs(var)},
        },
    )


def normalized(x, mean, var, params, eps):
    factor = np.asarray(params["scale"]) / np.sqrt(np.asarray(var) + eps)
    return (x - np.asarray(mean)) * factor + np.asarray(params["bias"])


@settings(max_examples=20, deadline=None, derandomize=True)
@given(
    st.lists(st.integers(1, 4), min_size=1, max_size=3).filter(lambda s: np.prod(s) > 1),
    st.integers(1, 3),
    st.floats(0, 1),
    st.sampled_from([1e-5, 1e-3, 0.1]),
)
def test_training_is_pytorch_s_formula(batch, channels, momentum, eps):
    x = draw((*batch, channels))
    axes, n = tuple(range(len(batch))), np.prod(batch)
    mean, var = x.mean(axes), x.var(axes)
    with jax.enable_x64(True):
        before = variables(channels)
        layer = BatchNorm(momentum=momentum, eps=eps)
        apply = jax.jit(lambda v, x: layer.apply(v, x, train=True, mutable=["batch_stats"]))
        y, updated = apply(before, x)
        assert_close(y, normalized(x, mean, var, before["params"], eps))
        running = before["batch_stats"]
        expected = {
            "mean": (1 - momentum) * running["mean"] + momentum * mean,
            "var": (1 - momentum) * running["var"] + momentum * var * n / (n - 1),
        }
        assert_close(updated["batch_stats"], expected)


@pytest.mark.parametrize(("frozen", "train"), [(False, False), (True, False), (True, True)])
def test_running_statistics_are_used_and_left(frozen, train):
    x = draw((4, 3, 3, 2))
    with jax.enable_x64(True):
        before = variables(2)
        layer = BatchNorm(frozen=frozen)
        y, updated = layer.apply(before, jnp.asarray(x), train=train, mutable=["batch_stats"])
        running = before["batch_stats"]
        assert_close(y, normalized(x, running["mean"], running["var"], before["params"], 1e-5))
        assert_close(updated["batch_stats"], running, rtol=0, atol=0)


@pytest.mark.parametrize("train", [True, False])
def test_gradients_equal_finite_differences(train):
    x = draw((3, 2, 2, 2))
    with jax.enable_x64(True):
        before = variables(2)

        @jax.jit
        def apply(x, params):
            y, _ = BatchNorm().apply(
                {**before, "params": params}, x, train=train, mutable=["batch_stats"]
            )
            return jnp.sin(y)

        check_grads(
            apply, (x, before["params"]), order=2, modes=["fwd", "rev"], eps=1e-5, rtol=1e-5
        )


def derived(x, scale, bias):
    """normalize_batch without its written derivative."""
    axes = tuple(range(x.ndim - 1))
    mean, variance = jnp.mean(x, axes), jnp.var(x, axes)
    return batch_norm(x, mean, variance, scale, bias), mean, variance


@settings(max_examples=20, deadline=None, derandomize=True)
@given(
    st.lists(st.integers(1, 4), min_size=1, max_size=3).filter(lambda s: np.prod(s) > 1),
    st.integers(1, 3),
    st.integers(0, 1000),
)
def test_the_written_gradient_is_the_derived_one(batch, channels, seed):
    """With cotangents of mean and variance, too."""
    shapes = [(*batch, channels), *[(channels,)] * 2, (*batch, channels), *[(channels,)] * 2]
    arrays = [draw(shape, seed + i) for i, shape in enumerate(shapes)]
    with jax.enable_x64(True):
        *arguments, of_y, of_mean, of_variance = map(jnp.asarray, arrays)

        @jax.jit
        def both(arguments, cotangents):
            values, pullback = jax.vjp(normalize_batch, *arguments)
            expected_values, expected_pullback = jax.vjp(derived, *arguments)
            ours, expected = pullback(cotangents), expected_pullback(cotangents)
            return (values, ours), (expected_values, expected)

        assert_close(*both(arguments, (of_y, of_mean, of_variance)))


@pytest.mark.parametrize("activation", [relu, gelu, jnp.tanh])
@pytest.mark.parametrize(("frozen", "train"), [(False, True), (False, False), (True, True)])
def test_an_activation_is_as_if_called_on_the_result(activation, frozen, train):
    """Values, derivatives of both modes, and second derivatives."""

    def derivatives(layer, after, x, params, tangents):
        before = {**variables(3), "params": params}

        def apply(x, params):
            y, updated = layer.apply(before | {"params": params}, x, train=train, mutable=True)
            return jnp.sin(after(y)), updated

        def gradient(x, params):
            return jax.grad(lambda *a: jnp.sum(apply(*a)[0]), (0, 1))(x, params)

        return (
            jax.jvp(apply, (x, params), tangents),
            jax.jvp(gradient, (x, params), tangents),
            jax.grad(lambda x: jnp.sum(jnp.square(gradient(x, params)[0])))(x),
        )

    with jax.enable_x64(True):
        x, of_x = (jnp.asarray(draw((2, 3, 4, 3), seed)) for seed in (0, 1))
        arguments = x, variables(3)["params"], (of_x, {"scale": x[0, 0, 0], "bias": x[0, 0, 1]})
        together = BatchNorm(frozen=frozen, activation=activation)
        ours = jax.jit(lambda *a: derivatives(together, lambda y: y, *a))(*arguments)
        one_by_one = BatchNorm(frozen=frozen)
        assert_close(ours, jax.jit(lambda *a: derivatives(one_by_one, activation, *a))(*arguments))


def test_an_activation_keeps_no_array_for_the_gradient():
    x, scale = jnp.asarray(draw((2, 3, 4, 3))), jnp.ones(3)
    after = jax.vjp(lambda *a: relu(normalize_batch(*a)[0]), x, scale, scale)[1]
    within = jax.vjp(lambda *a: normalize_batch(*a, activation=relu)[0], x, scale, scale)[1]
    whole = [
        [leaf for leaf in jax.tree.leaves(pullback) if leaf.shape == x.shape]
        for pullback in (within, after)
    ]
    assert len(whole[0]) == 1 < len(whole[1])


def loss_gradients(mapped=None, axis_name=None):
    """Gradients of a sum over the local examples, and the statistics; both for all parameters.

    Args:
        mapped: the axis over which the function is mapped.
        axis_name: what the layer is told of it.
    """

    def loss(params, statistics, x):
        y, updated = BatchNorm(axis_name=axis_name).apply(
            {"params": params, "batch_stats": statistics}, x, train=True, mutable=["batch_stats"]
        )
        # Not linear in y: of a linear function the gradient through the statistics is zero.
        moved = jax.tree.reduce(jnp.add, jax.tree.map(jnp.sum, updated["batch_stats"]))
        devices = 1 if mapped is None else jax.lax.axis_size(mapped)
        return jnp.sum(jnp.tanh(y)) + moved / devices, updated["batch_stats"]

    def gradients(params, statistics, x):
        (in_params, in_x), statistics = jax.grad(loss, argnums=(0, 2), has_aux=True)(
            params, statistics, x
        )
        if mapped is not None:
            in_params = jax.lax.psum(in_params, mapped)
        return in_params, in_x, statistics

    return gradients


def test_statistics_of_a_batch_sharded_under_jit_are_global():
    x = draw((2 * DEVICES, 3, 3, 4))
    mesh = jax.make_mesh((DEVICES,), ("data",), axis_types=(AxisType.Auto,))
    with jax.enable_x64(True):
        before = variables(4)
        arguments = before["params"], before["batch_stats"]
        expected = loss_gradients()(*arguments, jnp.asarray(x))
        replicated = jax.device_put(arguments, NamedSharding(mesh, PartitionSpec()))
        sharded = jax.device_put(jnp.asarray(x), NamedSharding(mesh, PartitionSpec("data")))
        assert_close(jax.jit(loss_gradients())(*replicated, sharded), expected)


def split_and_whole():
    """A batch in a part for each device, parameters, statistics, and what one device gives."""
    x = jnp.asarray(draw((2 * DEVICES, 3, 3, 4)))
    before = variables(4)
    arguments = before["params"], before["batch_stats"]
    in_params, in_x, statistics = jax.jit(loss_gradients())(*arguments, x)
    split = (DEVICES, 2, 3, 3, 4)
    return (*arguments, x.reshape(split)), (in_params, in_x.reshape(split), statistics)


AXES = {"in_axes": (None, None, 0), "out_axes": (None, 0, None)}


@pytest.mark.parametrize("axis_name", [None, "devices"])
def test_statistics_under_pmap_are_global(axis_name):
    with jax.enable_x64(True):
        arguments, expected = split_and_whole()
        mapped = jax.pmap(loss_gradients("devices", axis_name), "devices", **AXES)
        assert_close(mapped(*arguments), expected)


def test_statistics_over_an_axis_of_vmap_are_global_if_it_is_named():
    with jax.enable_x64(True):
        arguments, expected = split_and_whole()
        mapped = jax.vmap(loss_gradients("parts", "parts"), axis_name="parts", **AXES)
        assert_close(jax.jit(mapped)(*arguments), expected)
        alone = jax.vmap(loss_gradients(), in_axes=AXES["in_axes"], out_axes=0)(*arguments)
        one = jax.jit(loss_gradients())(*arguments[:2], arguments[2][0])
        assert_close(jax.tree.map(lambda a: a[0], alone), one)


@pytest.mark.parametrize("axis_name", [None, ()])
def test_pmap_needs_no_name_and_a_device_may_stay_alone(axis_name):
    with jax.enable_x64(True):
        x = draw((DEVICES, 2, 3))
        apply = lambda x: BatchNorm(axis_name=axis_name).apply(  # noqa: E731
            variables(3), x, train=True, mutable=["batch_stats"]
        )
        y, _ = jax.pmap(apply)(jnp.asarray(x))
        axes = (1,) if axis_name == () else (0, 1)
        params = variables(3)["params"]
        expected = normalized(
            x, x.mean(axes, keepdims=True), x.var(axes, keepdims=True), params, 1e-5
        )
        assert_close(y, np.asarray(expected))


def test_rows_of_padding_are_in_no_statistics():
    """As of the other rows alone, also where devices have different numbers of them."""
    with jax.enable_x64(True):
        before, x = variables(3), jnp.asarray(draw((4, 2, 2, 3)))
        rows = jnp.array([True, False, True, True])

        def apply(x, scale, **options):
            changed = before | {"params": before["params"] | {"scale": scale}}
            layer = BatchNorm(activation=relu)
            return layer.apply(changed, x, train=True, mutable=["batch_stats"], **options)

        def pullback(x, counted, **options):
            (y, updated), of = jax.vjp(partial(apply, **options), x, before["params"]["scale"])
            of_y = jnp.where(counted[:, None, None, None], jnp.sin(y), 0)
            return y, updated, of((of_y, jax.tree.map(jnp.ones_like, updated)))

        expected_y, expected, expected_gradients = pullback(x[rows], jnp.ones(3, bool))
        y, updated, (of_x, of_scale) = pullback(x, rows, rows=rows)
        assert_close((y[rows], updated), (expected_y, expected))
        assert_close((of_x[rows], of_scale), expected_gradients)
        assert not of_x[1].any()
        part = jax.pmap(lambda x, rows: apply(x, before["params"]["scale"], rows=rows))
        divided, statistics = part(x.reshape(2, 2, 2, 2, 3), rows.reshape(2, 2))
        assert_close(divided.reshape(x.shape), y)
        assert_close(jax.tree.map(lambda a: a[1], statistics), expected)
        _, kept = apply(x, before["params"]["scale"], rows=jnp.zeros(4, bool))
        assert_close(kept["batch_stats"], before["batch_stats"])


def test_initialization_needs_no_axis_and_no_second_value():
    layer = BatchNorm(axis_name="devices")
    before = layer.init(jax.random.key(0), jnp.ones((1, 3)), train=True)
    expected = {
        "params": {"scale": np.ones(3), "bias": np.zeros(3)},
        "batch_stats": {"mean": np.zeros(3), "var": np.ones(3)},
    }
    assert_close(before, expected, rtol=0, atol=0)


def test_one_value_a_channel_has_no_variance():
    with pytest.raises(ValueError, match=r"more than one value a channel, got 1 \(input \(1, 1, 1"):
        BatchNorm().apply(variables(2), jnp.ones((1, 1, 1, 2)), train=True, mutable=["batch_stats"])


def test_a_variance_far_from_zero_is_not_lost():
    """E[x²] - E[x]² in float32 would be off by far more than the variance itself."""
    x = 1000 + draw((64, 2)).astype(np.float32)
    before = variables(2, np.float32)
    y, _ = BatchNorm().apply(before, jnp.asarray(x), train=True, mutable=["batch_stats"])
    wide = x.astype(np.float64)
    expected = normalized(wide, wide.mean(0), wide.var(0), before["params"], 1e-5)
    assert_close(y, expected, rtol=1e-4)


@pytest.mark.parametrize("shape", [(64, 2), (8, 7, 2), (4, 16, 16, 2), (2, 3, 4, 5, 2)])
def test_a_mean_of_ten_thousand_deviations_is_no_loss(shape):
    x = (1e4 + np.random.default_rng(0).standard_normal(shape)).astype(np.float32)
    _, mean, variance = normalize_batch(jnp.asarray(x), jnp.ones(2), jnp.ones(2))
    axes, wide = tuple(range(len(shape) - 1)), x.astype(np.float64)
    assert_close(mean, wide.mean(axes), rtol=1e-6)
    assert_close(variance, wide.var(axes), rtol=1e-4)


def test_the_pixel_in_the_middle_may_be_far_from_the_mean():
    """The squares are taken about its mean; this is the worst case."""
    x = np.random.default_rng(0).standard_normal((4, 16, 16, 2)).astype(np.float32)
    x[:, 8, 8] += 1e4
    _, _, variance = normalize_batch(jnp.asarray(x), jnp.ones(2), jnp.ones(2))
    # A sum of 1,024 squares is right to about 32 * 2**-24, depending on its order, and the variance
    # is 1 / 256 of it.
    assert_close(variance, x.astype(np.float64).var((0, 1, 2)), rtol=16 * 16 * 4e-6)


def test_gradients_in_bfloat16_are_those_of_float32_rounded():
    x, of_y = (jnp.asarray(draw((64, 2), seed), jnp.bfloat16) for seed in (0, 1))
    params = variables(2, np.float32)["params"]

    def pulled_back(x):
        _, pullback = jax.vjp(lambda *a: normalize_batch(*a)[0], x, params["scale"], params["bias"])
        return pullback(of_y.astype(jnp.float32))

    ours, expected = pulled_back(x), pulled_back(x.astype(jnp.float32))
    assert [g.dtype for g in ours] == [jnp.bfloat16, jnp.float32, jnp.float32]
    assert_close(ours[1:], expected[1:], rtol=1e-6)
    assert_close(ours[0], expected[0].astype(jnp.bfloat16), rtol=1e-2)


def test_statistics_stay_float32_in_bfloat16():
    x = jnp.asarray(draw((64, 2)), jnp.bfloat16)
    before = variables(2, np.float32)
    y, updated = BatchNorm(dtype=jnp.bfloat16).apply(before, x, train=True, mutable=["batch_stats"])
    assert y.dtype == jnp.bfloat16
    wide = np.asarray(x, np.float64)
    running = before["batch_stats"]
    expected = {
        "mean": 0.9 * running["mean"] + 0.1 * wide.mean(0),
        "var": 0.9 * running["var"] + 0.1 * wide.var(0, ddof=1),
    }
    assert {leaf.dtype for leaf in jax.tree.leaves(updated)} == {jnp.dtype(jnp.float32)}
    assert_close(updated["batch_stats"], expected, rtol=1e-6)
