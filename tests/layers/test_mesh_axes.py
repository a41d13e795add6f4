"""Layers in `jax.shard_map`, and over a mesh with explicit axes, give what one device gives."""

import contextlib

import jax
import jax.numpy as jnp
import pytest
from flax import linen as nn
from jax.sharding import AxisType, NamedSharding
from jax.sharding import PartitionSpec as P

from cnn_jax import layers
from cnn_jax.layers.batch_norm import normalize_batch
from cnn_jax.layers.cpu import onednn
from cnn_jax.layers.cpu.products import kernel_gradient_by_products
from cnn_jax.layers.cpu.winograd import kernel_gradient_by_winograd
from cnn_jax.layers.windows import Geometry
from tests.tolerance import assert_close


@pytest.fixture(params=["onednn", "xla"])
def convolutions(request):
    """With oneDNN, where it is installed, and without it."""
    if request.param == "onednn" and not onednn.load():
        pytest.skip(onednn.status())
    with contextlib.nullcontext() if request.param == "onednn" else onednn.disabled():
        yield


class Network(nn.Module):
    """Every layer with a gradient, a loop or a call of its own, or with statistics."""

    @nn.compact
    def __call__(self, x):
        x = layers.Conv(8, 3, padding=1, use_bias=False)(x)
        x = layers.BatchNorm()(x, train=True)
        x = layers.max_pool(nn.relu(x), 2)
        x = layers.Conv(8, 3, padding=1, groups=8)(x)
        x = layers.max_pool(x, 3, 2, 1)
        x, indices = layers.max_pool_with_indices(x, 2)
        x = layers.max_unpool(x, indices, 2)
        x = layers.ConvTranspose(6, 3, stride=2)(x)
        x = layers.GroupNorm(2)(x)
        x = layers.local_response_normalization(x, 3)
        x = layers.avg_pool(x, 2)
        x = layers.adaptive_avg_pool(x, 3)
        return layers.Linear(10)(x.reshape(len(x), -1))


def setting():
    """Parameters, images, and what one device gives for them."""
    images = jax.random.normal(jax.random.key(0), (16, 16, 16, 3))
    parameters = Network().init(jax.random.key(1), images)["params"]
    one_device = jax.value_and_grad(loss, (0, 1), has_aux=True)
    return parameters, images, one_device(parameters, images)


def loss(parameters, images):
    """The loss, with the running statistics beside it."""
    statistics = {"BatchNorm_0": {"mean": jnp.zeros(8), "var": jnp.ones(8)}}
    variables = {"params": parameters, "batch_stats": statistics}
    y, state = Network().apply(variables, images, mutable=["batch_stats"])
    return jnp.mean(jnp.square(y)), state


@pytest.mark.parametrize("check_vma", [True, False])
def test_in_shard_map(check_vma, convolutions):
    parameters, images, expected = setting()
    mesh = jax.make_mesh((8,), ("data",), axis_types=(AxisType.Auto,))

    def part(parameters, images):
        value, state = loss(parameters, images)
        return jax.lax.pmean(value, "data"), state

    divided = jax.shard_map(
        part, mesh=mesh, in_specs=(P(), P("data")), out_specs=P(), check_vma=check_vma
    )
    actual = jax.jit(jax.value_and_grad(divided, (0, 1), has_aux=True))(parameters, images)
    assert_close(actual, expected, rtol=1e-5)


@pytest.mark.parametrize("spec", [P(("a", "b")), P("a"), P()])
def test_over_explicit_axes(spec, convolutions):
    parameters, images, expected = setting()
    mesh = jax.make_mesh((2, 2), ("a", "b"), axis_types=(AxisType.Explicit, AxisType.Explicit))
    with jax.set_mesh(mesh):
        parameters = jax.device_put(parameters, NamedSharding(mesh, P()))
        images = jax.device_put(images, NamedSharding(mesh, spec))
        step = jax.jit(jax.value_and_grad(loss, (0, 1), has_aux=True))
        actual = step(parameters, images)
        assert "all-gather" not in step.lower(parameters, images).compile().as_text()
    assert actual[1][1].sharding.spec == P(*(spec or [None]), None, None, None)
    assert_close(actual, expected, rtol=1e-5)


def convolution_gradients(x, kernel):
    return jax.grad(lambda *a: jnp.sum(jnp.sin(layers.conv2d(*a))), (0, 1))(x, kernel)


def image_and_kernel():
    x = jax.random.normal(jax.random.key(0), (4, 8, 8, 4))
    return x, jax.random.normal(jax.random.key(1), (3, 3, 4, 8))


def test_explicit_axes_that_only_the_arrays_name(convolutions):
    x, kernel = image_and_kernel()
    mesh = jax.make_mesh((4,), ("data",), axis_types=(AxisType.Explicit,))
    placed = jax.device_put(x, NamedSharding(mesh, P("data")))
    actual = jax.jit(lambda x, kernel: convolution_gradients(x, kernel))(placed, kernel)
    assert_close(actual, convolution_gradients(x, kernel), rtol=1e-5)


def test_explicit_axes_that_divide_more_than_the_batch(convolutions):
    arrays, specs = image_and_kernel(), (P("a", "b"), P(None, None, None, "b"))
    mesh = jax.make_mesh((2, 2), ("a", "b"), axis_types=(AxisType.Explicit, AxisType.Explicit))
    with jax.set_mesh(mesh):
        placed = [
            jax.device_put(array, NamedSharding(mesh, spec))
            for array, spec in zip(arrays, specs, strict=True)
        ]
        actual = jax.jit(lambda x, kernel: convolution_gradients(x, kernel))(*placed)
    assert_close(actual, convolution_gradients(*arrays), rtol=1e-5)


@pytest.mark.parametrize("check_vma", [True, False])
def test_in_shard_map_over_some_of_the_axes(check_vma, convolutions):
    mesh = jax.make_mesh((2, 2), ("a", "b"), axis_types=(AxisType.Auto, AxisType.Auto))
    x, kernel = image_and_kernel()
    divided = jax.shard_map(
        lambda x, kernel: layers.conv2d(x, kernel),
        mesh=mesh,
        in_specs=(P("a"), P()),
        out_specs=P("a"),
        axis_names={"a"},
        check_vma=check_vma,
    )

    def loss(x, kernel):
        return jnp.sum(jnp.sin(divided(x, kernel)))

    x_placed = jax.device_put(x, NamedSharding(mesh, P(("a", "b"))))
    actual = jax.jit(jax.grad(loss, (0, 1)))(x_placed, kernel)
    assert_close(actual, convolution_gradients(x, kernel), rtol=1e-5)


def of_statistics(x, scale, bias, weights, axis_name=None):
    """A part's sum over its own outputs, and a number of the whole batch's statistics."""
    y, mean, variance = normalize_batch(x, scale, bias, 1e-5, axis_name)
    return jnp.sum(weights * jnp.sin(y)), jnp.sum(jnp.cos(mean) * variance)


@pytest.mark.parametrize("check_vma", [True, False])
@pytest.mark.parametrize(("shape", "names"), [((8,), "data"), ((4, 2), ("host", "data"))])
def test_gradients_through_the_statistics_of_all_devices(shape, names, check_vma):
    x, weights = jax.random.normal(jax.random.key(0), (2, 16, 5))
    scale, bias = jnp.linspace(1, 2, 5), jnp.linspace(0, 1, 5)
    axes = (names,) if isinstance(names, str) else names
    mesh = jax.make_mesh(shape, axes, axis_types=(AxisType.Auto,) * len(axes))

    def part(*arguments):
        of_outputs, whole = of_statistics(*arguments, axis_name=names)
        # Unchecked, every device counts what all of them have.
        whole = whole if check_vma else jax.lax.pmean(whole, names)
        return jax.lax.psum(of_outputs, names) + whole

    divided = jax.shard_map(
        part,
        mesh=mesh,
        in_specs=(P(names), P(), P(), P(names)),
        out_specs=P(),
        check_vma=check_vma,
    )
    actual = jax.grad(divided, (0, 1, 2))(x, scale, bias, weights)
    expected = jax.grad(lambda *a: sum(of_statistics(*a)), (0, 1, 2))(x, scale, bias, weights)
    assert_close(actual, expected, rtol=1e-5)


@pytest.mark.parametrize("batch", [16, 0])
def test_kernel_gradients_by_products_and_by_winograd_in_shard_map(batch):
    x, y = jax.random.normal(jax.random.key(0), (2, batch, 6, 6, 8))
    geometry = Geometry((1, 1), ((1, 1), (1, 1)), (1, 1), 1)
    mesh = jax.make_mesh((8,), ("data",), axis_types=(AxisType.Auto,))

    def by_products(x, y):
        return kernel_gradient_by_products(x, y, (3, 3), geometry)

    def by_winograd(x, y):
        return kernel_gradient_by_winograd(x, y, geometry)

    for gradient in (by_products, by_winograd)[: 2 if batch else 1]:
        divided = jax.shard_map(
            lambda x, y, gradient=gradient: jax.lax.psum(gradient(x, y), "data"),
            mesh=mesh,
            in_specs=P("data"),
            out_specs=P(),
        )
        assert_close(divided(x, y), by_products(x, y), rtol=1e-5)


def of_regions(x, boxes, scores):
    """Features of regions and their gradient, and which boxes remain, for each image."""

    def features(x):
        aligned = [
            layers.roi_align(x, boxes, 2, scale=0.5, sampling_ratio=number) for number in (0, 2)
        ]
        levels = x, layers.max_pool(x, 2)
        across = layers.pyramid_roi_align(levels, boxes, 2, strides=(2, 4))
        pooled = layers.roi_pool(x, boxes, 2, scale=0.5)
        return jnp.stack([*aligned, across, pooled], axis=1)

    def kept(boxes, scores, most, **options):
        return layers.non_maximum_suppression(boxes, scores, 0.3, most=most, **options)

    def kept_in_classes(boxes, scores, most):
        options = {"classes": jnp.round(3 * scores), "mask": scores > 0.1}
        return kept(boxes, scores, most, **options)

    weighted, gradient = jax.vjp(features, x)
    (gradient,) = gradient(jnp.cos(weighted))
    # All pairs of boxes at once, and the best few one by one.
    remaining = [
        jax.vmap(lambda b, s, one=one, n=n: one(b, s, n))(boxes, scores)
        for one in (kept, kept_in_classes)
        for n in (None, 2)
    ]
    soft = jax.vmap(lambda b, s: layers.soft_non_maximum_suppression(b, s))(boxes, scores)
    return weighted, gradient, remaining, soft


def images_with_boxes():
    corners = jax.random.uniform(jax.random.key(0), (8, 16, 2, 2), maxval=16)
    boxes = jnp.concatenate([corners.min(axis=2), corners.max(axis=2)], axis=-1)
    scores = jax.random.uniform(jax.random.key(1), (8, 16))
    return jax.random.normal(jax.random.key(2), (8, 8, 8, 3)), boxes, scores


@pytest.mark.parametrize("check_vma", [True, False])
def test_regions_and_suppression_in_shard_map(check_vma):
    arrays = images_with_boxes()
    mesh = jax.make_mesh((8,), ("data",), axis_types=(AxisType.Auto,))
    divided = jax.shard_map(
        of_regions, mesh=mesh, in_specs=P("data"), out_specs=P("data"), check_vma=check_vma
    )
    assert_close(jax.jit(divided)(*arrays), jax.jit(of_regions)(*arrays), rtol=1e-5)


@pytest.mark.parametrize("kind", [AxisType.Auto, AxisType.Explicit])
def test_regions_and_suppression_over_a_divided_batch(kind):
    arrays = images_with_boxes()
    mesh = jax.make_mesh((8,), ("data",), axis_types=(kind,))
    with jax.set_mesh(mesh):
        placed = [jax.device_put(array, NamedSharding(mesh, P("data"))) for array in arrays]
        actual = jax.jit(of_regions)(*placed)
        assert actual[0].sharding.spec[0] == "data"
    assert_close(actual, jax.jit(of_regions)(*arrays), rtol=1e-5)
