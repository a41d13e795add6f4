"""The maximum over windows of images, with a derivative that is fast on CPUs and GPUs."""

import functools
import math
from collections.abc import Iterator, Sequence
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, DTypeLike

from cnn_jax.layers.arguments import wide
from cnn_jax.layers.mesh_axes import varying_like
from cnn_jax.layers.primitives import batch_comes_first, primitive, transpose_each_other
from cnn_jax.layers.windows import Pads

MOST_TAPS = 64
"""The largest number of pixels of a window that are compared one after another. The programs grow
with it: the gradient of 20x20 windows would take minutes to compile."""


class Windows(NamedTuple):
    """Where the windows lie; padding is -inf."""

    size: tuple[int, int]
    stride: tuple[int, int]
    padding: Pads


@partial(jax.custom_jvp, nondiff_argnums=(1,))
def window_maximum(x: Array, windows: Windows) -> Array:
    """The maximum of each window of x [batch, height, width, channels]; NaN if there is one."""
    batch, *pixels, channels = x.shape
    return _maximum.bind(x, shape=(batch, *_number(pixels, windows), channels), windows=windows)


def _maximum_by_jax(x: Array, *, shape: Any, windows: Windows) -> Array:
    return lax.reduce_window(x, -jnp.inf, lax.max, *_in_four_axes(windows))


def _maximum_on_cpu(x: Array, *, shape: Any, windows: Windows) -> Array:
    # XLA's maximum over windows takes up to seven times as long as selections between shifted
    # images (`python -m experiments.bench max_pool`), and ignores NaN in some programs.
    if _many(windows):
        lowest = varying_like(jnp.asarray(-jnp.inf, x.dtype), x)
        return lax.reduce_window(x, lowest, _larger, *_in_four_axes(windows))
    return functools.reduce(_larger, _taps(x, windows, -jnp.inf))


@window_maximum.defjvp
def _derivative(
    windows: Windows, primals: tuple[Array], tangents: tuple[Array]
) -> tuple[Array, Array]:
    y = window_maximum(*primals, windows)
    return y, _gather.bind(*primals, *tangents, shape=y.shape, windows=windows)


# JAX's own derivative is 7 to 8 times slower on a CPU (`python -m experiments.bench max_pool`) than
# selections between shifted images, and their transpose, a sum of images with gaps.
def _gather_by_jax(x: Array, tangents: Array, *, shape: Any, windows: Windows) -> Array:
    """The tangent of each window's maximum."""
    maximum = partial(_maximum_by_jax, shape=shape, windows=windows)
    return jax.jvp(maximum, (x,), (tangents,))[1]


def _scatter_by_jax(x: Array, gradient: Array, windows: Windows) -> Array:
    # What `jax.vjp` gives, without the maximum itself.
    size, stride, padding = _in_four_axes(windows)
    return lax.select_and_scatter_add_p.bind(
        gradient.astype(wide(x)),
        x.astype(wide(x)),
        select_prim=lax.ge_p,
        window_dimensions=size,
        window_strides=stride,
        padding=padding,
    ).astype(gradient.dtype)


def _scatter_on_accelerators(x: Array, gradient: Array, *, shape: Any, windows: Windows) -> Array:
    """The gradient of each pixel: the sum over the windows that selected it.

    JAX's own moves six times as many bytes on a GPU (3x3 windows, stride 2, bfloat16).
    """
    if _many(windows):
        return _scatter_by_jax(x, gradient, windows)
    selected, wider = _selected(x, windows, jnp.int8), gradient.astype(wide(x))
    spread = (
        _spread(jnp.where(selected == number, wider, 0), tap, x.shape, windows)
        for number, tap in enumerate(np.ndindex(windows.size))
    )
    return functools.reduce(jnp.add, spread).astype(gradient.dtype)


def _spread(values: Array, tap: Sequence[int], shape: Sequence[int], windows: Windows) -> Array:
    """The image with the value of each window at one pixel of the window, and zeros between."""
    edges = []
    for t, stride, (before, _), count, size in zip(
        tap, windows.stride, windows.padding, values.shape[1:3], shape[1:3], strict=True
    ):
        after = size - (t - before) - (count - 1) * stride - 1
        edges.append((t - before, after, stride - 1))
    return lax.pad(values, jnp.zeros((), values.dtype), ((0, 0, 0), *edges, (0, 0, 0)))


def _gather_on_cpu(x: Array, tangents: Array, *, shape: Any, windows: Windows) -> Array:
    if _many(windows):
        return _gather_by_jax(x, tangents, shape=shape, windows=windows)
    values_and_tangents = zip(_taps(x, windows, -jnp.inf), _taps(tangents, windows, 0), strict=True)
    largest, gathered = next(values_and_tangents)
    for values, tangents in values_and_tangents:
        gathered = jnp.where(_replaces(values, largest), tangents, gathered)
        largest = _larger(largest, values)
    return gathered


def _scatter_on_cpu(x: Array, gradient: Array, *, shape: Any, windows: Windows) -> Array:
    if _many(windows):
        return _scatter_by_jax(x, gradient, windows)
    if windows.stride == windows.size:
        return _scatter_to_tiles(x, gradient, windows)
    gather = partial(_gather_on_cpu, x, shape=gradient.shape, windows=windows)
    transposed = jax.linear_transpose(gather, jnp.zeros_like(x, wide(x)))
    return transposed(gradient.astype(wide(x)))[0].astype(gradient.dtype)


def _scatter_to_tiles(x: Array, gradient: Array, windows: Windows) -> Array:
    """For windows side by side: every pixel has one window, so that nothing is added up."""
    selected = _selected(x, windows, jnp.int32)
    height, width = windows.size
    numbers = jnp.arange(height * width).reshape(1, 1, height, 1, width, 1)
    chosen = selected[:, :, None, :, None] == numbers
    spread = jnp.where(chosen, gradient[:, :, None, :, None], 0)
    spread = lax.collapse(lax.collapse(spread, 1, 3), 2, 4)
    (top, _), (left, _) = windows.padding
    after = (x.shape[1] + top - spread.shape[1], x.shape[2] + left - spread.shape[2])
    edges = ((-top, after[0], 0), (-left, after[1], 0))
    return lax.pad(spread, jnp.zeros((), x.dtype), ((0, 0, 0), *edges, (0, 0, 0)))


def _selected(x: Array, windows: Windows, dtype: DTypeLike) -> Array:
    """Which pixel of each window is its maximum, counted row by row."""
    taps = _taps(x, windows, -jnp.inf)
    largest = next(taps)
    selected = jnp.zeros(largest.shape, dtype)
    for number, values in enumerate(taps, start=1):
        selected = jnp.where(_replaces(values, largest), number, selected)
        largest = _larger(largest, values)
    return selected


def _many(windows: Windows) -> bool:
    return math.prod(windows.size) > MOST_TAPS


def _taps(x: Array, windows: Windows, padding: float) -> Iterator[Array]:
    """The first pixels of all windows, row by row through the window up to the last pixels."""
    size, stride, sides = windows
    padded = jnp.pad(x, ((0, 0), *sides, (0, 0)), constant_values=padding)
    number = _number(x.shape[1:3], windows)
    for tap in np.ndindex(size):
        yield padded[:, *(every(*axis) for axis in zip(tap, stride, number, strict=True))]


def _number(pixels: Sequence[int], windows: Windows) -> list[int]:
    """The number of windows along each axis."""
    return [(n + sum(sides) - k) // s + 1 for n, k, s, sides in zip(pixels, *windows, strict=True)]


def _larger(largest: Array, value: Array) -> Array:
    return jnp.where(_replaces(value, largest), value, largest)


def _replaces(value: Array, largest: Array) -> Array:
    return (value > largest) | jnp.isnan(value)


def every(start: int, stride: int, count: int) -> slice:
    """`count` elements from `start`, `stride` apart."""
    return slice(start, start + (count - 1) * stride + 1, stride)


def _in_four_axes(windows: Windows) -> tuple[Any, Any, Any]:
    size, stride, padding = windows
    return (1, *size, 1), (1, *stride, 1), ((0, 0), *padding, (0, 0))


_maximum = primitive("max_pool", _maximum_by_jax, _maximum_on_cpu)
batch_comes_first(_maximum)
_gather = primitive("max_pool_gather", _gather_by_jax, _gather_on_cpu)
_scatter = primitive("max_pool_scatter", _scatter_on_accelerators, _scatter_on_cpu)
transpose_each_other(_gather, _scatter)
