"""The kernel's gradient without oneDNN: by products, by Winograd's filtering, which is taken."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from cnn_jax.layers import conv2d
from cnn_jax.layers.cpu import onednn, products, winograd
from cnn_jax.layers.windows import Geometry
from tests.layers.convolutions import convolutions, draw_normal, xla_convolution
from tests.tolerance import assert_close


@settings(max_examples=20, deadline=None, derandomize=True)
@given(convolutions(), st.sampled_from([1, 200, 2**20]))
def test_the_kernel_gradient_by_products_is_that_of_the_definition(case, block_values):
    x_shape, kernel_shape, (stride, padding, dilation, groups) = case
    assume(groups == 1)
    x, kernel = draw_normal(0, x_shape, kernel_shape)
    geometry = Geometry(stride, padding, dilation, groups)
    with jax.enable_x64(True), pytest.MonkeyPatch.context() as patch:
        patch.setattr(products, "BLOCK_VALUES", block_values)
        y, back = jax.vjp(lambda k: xla_convolution(jnp.asarray(x), k, *geometry), kernel)
        actual = products.kernel_gradient_by_products(jnp.asarray(x), y, kernel_shape[:2], geometry)
        assert_close(actual, back(y)[0])


def test_products_in_bfloat16_are_added_in_float32(monkeypatch):
    monkeypatch.setattr(products, "BLOCK_VALUES", 1)
    geometry = Geometry((1, 1), ((0, 0), (0, 0)), (1, 1), 1)
    x, y = jnp.ones((600, 3, 3, 2), jnp.bfloat16), jnp.ones((600, 2, 2, 1), jnp.bfloat16)
    gradient = products.kernel_gradient_by_products(x, y, (2, 2), geometry)
    assert gradient.dtype == jnp.bfloat16 and set(gradient.ravel().tolist()) == {2400.0}
    empty = products.kernel_gradient_by_products(x[:0], y[:0], (2, 2), geometry)
    assert empty.shape == (2, 2, 2, 1) and not empty.any()


@settings(max_examples=30, deadline=None, derandomize=True)
@given(
    size=st.tuples(st.integers(3, 12), st.integers(3, 12)),
    padding=st.tuples(*[st.tuples(st.integers(0, 4), st.integers(0, 4))] * 2),
    batch=st.integers(1, 6),
    block_tiles=st.sampled_from([1, 8, 512]),
)
def test_the_kernel_gradient_by_winograd_is_that_of_the_definition(
    size, padding, batch, block_tiles
):
    x, kernel = draw_normal(0, (batch, *size, 3), (3, 3, 3, 2))
    geometry = Geometry((1, 1), padding, (1, 1), 1)
    with jax.enable_x64(True), pytest.MonkeyPatch.context() as patch:
        patch.setattr(winograd, "BLOCK_TILES", block_tiles)
        y, back = jax.vjp(lambda k: xla_convolution(jnp.asarray(x), k, *geometry), kernel)
        actual = winograd.kernel_gradient_by_winograd(jnp.asarray(x), y, geometry)
        assert_close(actual, back(y)[0])


def test_winograds_rounding_is_small_and_it_takes_what_it_can():
    geometry = Geometry((1, 1), ((1, 1), (1, 1)), (1, 1), 1)
    x, y = draw_normal(0, (8, 15, 15, 64), (8, 15, 15, 40))
    narrow = [jnp.asarray(array, jnp.float32) for array in (x, y)]
    actual = winograd.kernel_gradient_by_winograd(*narrow, geometry)
    with jax.enable_x64(True):
        exact = winograd.kernel_gradient_by_winograd(jnp.asarray(x), jnp.asarray(y), geometry)
    error = np.abs(np.asarray(actual) - np.asarray(exact)).max()
    assert 0 < error < 2e-5 * np.abs(exact).max()

    takes = functools.partial(winograd.takes, np.dtype(np.float32))
    assert takes((3, 3, 64, 40), y.shape, geometry)
    for kernel, outputs, changed in (
        ((5, 5, 64, 40), y.shape, {}),
        ((3, 3, 16, 40), y.shape, {}),
        ((3, 3, 64, 16), (*y.shape[:3], 16), {}),
        ((3, 3, 64, 40), (8, 2, 2, 40), {}),
        ((3, 3, 64, 40), (0, *y.shape[1:]), {}),
        ((3, 3, 64, 40), y.shape, {"stride": (2, 1)}),
        ((3, 3, 64, 40), y.shape, {"dilation": (1, 2)}),
        ((3, 3, 64, 40), y.shape, {"groups": 2}),
    ):
        assert not takes(kernel, outputs, geometry._replace(**changed))
    assert not winograd.takes(np.dtype(np.float64), (3, 3, 64, 40), y.shape, geometry)


def test_one_device_takes_winograd_for_the_kernel_gradient(monkeypatch):
    x, kernel = draw_normal(0, (4, 8, 8, 32), (3, 3, 32, 32))
    x, kernel = jnp.asarray(x, jnp.float32), jnp.asarray(kernel, jnp.float32)

    def gradient():
        program = jax.jit(jax.grad(lambda kernel: jnp.sum(jnp.sin(conv2d(x, kernel, padding=1)))))
        return program(kernel), "f32[36,32,32]" in program.lower(kernel).compile().as_text()

    with onednn.disabled():
        several, tiles_there = gradient()
        assert not tiles_there
        monkeypatch.setattr(jax, "device_count", lambda: 1)
        one, tiles_there = gradient()
    assert tiles_there
    assert_close(one, several, rtol=1e-5)


@pytest.mark.parametrize(
    ("kernel_shape", "taken"),
    [((3, 3, 8, 24), True), ((1, 1, 8, 5), True), ((3, 3, 8, 5), False), ((3, 3, 7, 24), False)],
)
def test_one_device_takes_products_for_the_kernel_gradient(kernel_shape, taken, monkeypatch):
    x, kernel = draw_normal(0, (4, 6, 6, kernel_shape[2]), kernel_shape)

    def gradient():
        program = jax.jit(jax.grad(lambda kernel: jnp.sum(conv2d(jnp.asarray(x), kernel) ** 2)))
        text = program.lower(jnp.asarray(kernel)).as_text()
        return program(jnp.asarray(kernel)), "dot_general" in text

    with jax.enable_x64(True):
        several, products_there = gradient()
        assert not products_there
        monkeypatch.setattr(jax, "device_count", lambda: 1)
        one, products_there = gradient()
        assert products_there == taken
        assert_close(one, several)


def test_the_gradient_of_an_exported_program_takes_batches_of_any_size(monkeypatch):
    monkeypatch.setattr(jax, "device_count", lambda: 1)
    gradient = jax.jit(jax.grad(lambda kernel, x: jnp.sum(conv2d(x, kernel) ** 2)))
    kernel, x = (jnp.asarray(a, jnp.float32) for a in draw_normal(0, (3, 3, 32, 32), (3, 8, 8, 32)))
    any_batch = jax.ShapeDtypeStruct(jax.export.symbolic_shape("batch, 8, 8, 32"), x.dtype)
    with onednn.disabled():
        exported = jax.export.export(gradient)(kernel, any_batch)
    for batch in (1, 3):
        assert_close(exported.call(kernel, x[:batch]), gradient(kernel, x[:batch]), rtol=1e-5)
