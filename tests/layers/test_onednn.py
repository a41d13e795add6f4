"""oneDNN's convolution and gradients equal XLA's, whatever the geometry, devices and transforms."""

import functools
import os
import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import AxisType, NamedSharding
from jax.sharding import PartitionSpec as P

from cnn_jax.layers import conv2d, conv_transpose2d
from cnn_jax.layers.cpu import onednn
from cnn_jax.layers.cpu.onednn import library
from cnn_jax.layers.windows import Geometry
from tests.tolerance import assert_close


@pytest.fixture(autouse=True)
def loaded():
    if not onednn.load():
        # With wheels and a compiler a failure is one.
        assert "cannot be made" not in onednn.status()
        pytest.skip(onednn.status())


def draw_normal(seed, *shapes):
    generator = np.random.default_rng(seed)
    return [jnp.asarray(generator.standard_normal(shape), jnp.float32) for shape in shapes]


def random_case(seed):
    """Shapes of images and kernel, and the geometry."""
    rng = np.random.default_rng(seed)
    while True:
        groups = int(rng.choice([1, 1, 2, 4, 8]))
        channels, features = (groups * int(rng.choice([1, 2, 3, 5, 8, 16])) for _ in range(2))
        image, window = rng.integers(1, 20, 2), rng.integers(1, 6, 2)
        stride, dilation = rng.integers(1, 4, 2), rng.integers(1, 4, 2)
        padding = rng.integers(0, 4, (2, 2))
        if np.all((window - 1) * dilation < image + padding.sum(1)):
            break
    (top, bottom), (left, right) = padding.tolist()
    geometry = {
        "stride": tuple(stride.tolist()),
        "padding": ((top, bottom), (left, right)),
        "dilation": tuple(dilation.tolist()),
        "groups": groups,
    }
    x = (int(rng.integers(1, 5)), *image.tolist(), channels)
    return x, (*window.tolist(), channels // groups, features), geometry


def value_and_gradients(convolution, x, kernel):
    """The output, and the gradients of half the sum of its squares."""

    @jax.jit
    def all_three(x, kernel):
        y, back = jax.vjp(convolution, x, kernel)
        return {"y": y, **dict(zip(("x", "kernel"), back(y), strict=True))}

    return all_three(x, kernel)


def targets(function, *arguments):
    """Names of oneDNN's targets that a program calls."""
    text = jax.jit(function).lower(*arguments).as_text()
    return {name for name in ("convolve", "spread", "kernel_gradient") if f"cnn_jax_{name}" in text}


def in_float64(function, *arguments):
    """XLA's result in float64, which oneDNN does not have."""
    with jax.enable_x64(True):
        return function(*(jnp.asarray(np.asarray(a), jnp.float64) for a in arguments))


CASES = [pytest.param(seed, marks=[pytest.mark.full] if seed >= 20 else []) for seed in range(200)]


@pytest.mark.parametrize("seed", CASES)
def test_values_and_both_gradients_of_any_geometry(seed):
    x_shape, kernel_shape, geometry = random_case(seed)
    x, kernel = draw_normal(seed, x_shape, kernel_shape)
    convolution = functools.partial(conv2d, **geometry)
    assert targets(convolution, x, kernel) == {"convolve"}
    compared = functools.partial(value_and_gradients, convolution)
    actual = compared(x, kernel)
    assert_close(actual, in_float64(compared, x, kernel), rtol=1e-5)


@pytest.mark.parametrize("stride", [1, 2, 3])
def test_the_transposed_convolution_is_the_same_operator(stride):
    x, kernel = draw_normal(0, (2, 5, 4, 6), (3, 3, 8, 6))
    convolution = functools.partial(
        conv_transpose2d, stride=stride, padding=1, output_padding=stride - 1
    )
    assert targets(convolution, x, kernel) == {"spread"}
    compared = functools.partial(value_and_gradients, convolution)
    actual = compared(x, kernel)
    assert_close(actual, in_float64(compared, x, kernel), rtol=1e-5)


def test_bfloat16_has_its_own_rounding_only():
    x, kernel = draw_normal(0, (4, 9, 9, 16), (3, 3, 16, 32))
    convolution = functools.partial(conv2d, padding=1)
    half = [array.astype(jnp.bfloat16) for array in (x, kernel)]
    if not targets(convolution, *half):
        pytest.skip("oneDNN has no bfloat16 on this processor")
    actual = value_and_gradients(convolution, *half)
    assert actual["kernel"].dtype == jnp.bfloat16
    exact = in_float64(functools.partial(value_and_gradients, convolution), *half)
    assert_close(actual, exact, rtol=2e-2)


def loss(kernel, x):
    return jnp.mean(jnp.square(jnp.tanh(conv2d(x, kernel, stride=2, padding=1))))


def test_second_derivatives():
    x, kernel = draw_normal(0, (3, 7, 7, 4), (3, 3, 4, 8))

    def steepness(kernel, x):
        return sum(jnp.sum(jnp.square(g)) for g in jax.grad(loss, (0, 1))(kernel, x))

    gradient = jax.grad(steepness, (0, 1))
    expected = in_float64(gradient, kernel, x)
    assert targets(gradient, kernel, x) == {"convolve", "spread", "kernel_gradient"}
    assert_close(gradient(kernel, x), expected, rtol=1e-5)


@pytest.mark.parametrize(("shape", "names"), [((8,), ("data",)), ((4, 2), ("host", "data"))])
def test_each_device_computes_its_part_of_the_batch(shape, names):
    x, kernel = draw_normal(0, (16, 8, 8, 4), (3, 3, 4, 8))
    gradient = jax.jit(jax.grad(loss, (0, 1)))
    mesh = jax.make_mesh(shape, names, axis_types=(AxisType.Auto,) * len(names))
    divided = jax.device_put(x, NamedSharding(mesh, P(names)))
    whole = jax.device_put(kernel, NamedSharding(mesh, P()))
    program = gradient.lower(whole, divided).compile().as_text()
    calls = [line for line in program.splitlines() if 'custom_call_target="cnn_jax' in line]
    assert len(calls) == 3 and all("[2," in line or "f32[3,3,4,8]" in line for line in calls)
    assert "all-gather" not in program
    actual = gradient(whole, divided)
    assert actual[1].sharding.spec in (P(names), P(*names))
    assert_close(actual, gradient(kernel, x), rtol=1e-5)


DIVIDED = """
import jax, jax.numpy as jnp
from cnn_jax.layers import conv2d
from experiments.tools.compilation_cache import keep_compiled_programs
from jax.sharding import AxisType, NamedSharding, PartitionSpec as P
keep_compiled_programs()
mesh = jax.make_mesh((2,), ("data",), axis_types=(AxisType.Auto,))
x = jax.device_put(jnp.ones((2, 5, 5, 1)), NamedSharding(mesh, P("data")))
kernel = jax.device_put(jnp.ones((3, 3, 1, 1)), NamedSharding(mesh, P()))
for padding in (((0, 2), (0, 2)), ((1, 1), (1, 1)), ((2, 0), (2, 0))):
    y = jax.jit(lambda x, kernel: conv2d(x, kernel, padding=padding))(x, kernel)
    print(float(y[0, 0, 0, 0]))
"""


def test_another_process_finds_the_programs_of_several_devices(tmp_path):
    environ = {**os.environ, "JAX_COMPILATION_CACHE_DIR": str(tmp_path)}
    environ["JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS"] = "0"
    entries = []
    for _ in range(2):
        command = [sys.executable, "-c", DIVIDED]
        done = subprocess.run(command, env=environ, capture_output=True, text=True, check=True)
        # They differ in nothing but their padding.
        assert done.stdout.split() == ["9.0", "4.0", "1.0"]
        entries.append(sorted(path.name for path in tmp_path.glob("*-cache")))
    assert entries[0] == entries[1] and sum("lambda" in name for name in entries[0]) == 3


def test_under_pmap():
    x, kernel = draw_normal(0, (16, 8, 8, 4), (3, 3, 4, 8))

    @functools.partial(jax.pmap, axis_name="devices", in_axes=(None, 0))
    def mean_gradient(kernel, x):
        return jax.lax.pmean(jax.grad(loss)(kernel, x), "devices")

    actual = mean_gradient(kernel, x.reshape(8, 2, *x.shape[1:]))[0]
    assert_close(actual, jax.grad(loss)(kernel, x), rtol=1e-5)


@pytest.mark.parametrize("axes", [(0, None), (None, 0), (0, 0)])
def test_under_vmap(axes):
    kernels, images = draw_normal(0, (3, 3, 3, 4, 8), (3, 2, 7, 7, 4))
    arguments = [a if axis == 0 else a[0] for a, axis in zip((kernels, images), axes, strict=True)]
    gradient = jax.grad(loss, (0, 1))
    mapped = jax.jit(jax.vmap(gradient, axes))
    assert targets(mapped, *arguments) == {"convolve", "spread", "kernel_gradient"}
    one_by_one = [
        gradient(*(a[i] if axis == 0 else a for a, axis in zip(arguments, axes, strict=True)))
        for i in range(3)
    ]
    assert_close(mapped(*arguments), jax.tree.map(lambda *a: jnp.stack(a), *one_by_one), rtol=1e-5)


def test_in_a_scan():
    kernels, images = draw_normal(0, (3, 3, 4, 8), (3, 2, 7, 7, 4))

    def step(kernel, x):
        return kernel - 0.1 * jax.grad(loss)(kernel, x), loss(kernel, x)

    expected = kernels
    for x in images:
        expected, _ = step(expected, x)
    assert_close(jax.lax.scan(step, kernels, images)[0], expected, rtol=1e-5)


@pytest.mark.parametrize(
    ("shape", "dtype"), [((2, 5, 5, 4), np.float16), ((0, 5, 5, 4), np.float32)]
)
def test_what_it_does_not_take_is_left_to_xla(shape, dtype):
    x, kernel = jnp.ones(shape, dtype), jnp.ones((3, 3, 4, 8), dtype)
    assert targets(conv2d, x, kernel) == set()
    assert conv2d(x, kernel).shape == (shape[0], 3, 3, 8)


def test_disabled_computes_by_xla():
    x, kernel = draw_normal(0, (2, 5, 5, 4), (3, 3, 4, 8))
    with onednn.disabled():
        assert targets(lambda x, kernel: conv2d(x, kernel), x, kernel) == set()
    assert targets(lambda x, kernel: conv2d(x, kernel), x, kernel) == {"convolve"}


PROGRAM = """
import jax.numpy as jnp
from cnn_jax.layers import conv2d
from cnn_jax.layers.cpu import onednn
x, kernel = jnp.ones((1, 3, 3, 2)), jnp.ones((3, 3, 2, 1))
print(float(conv2d(x, kernel)[0, 0, 0, 0]), onednn.status())
"""


@pytest.mark.parametrize(
    ("environment", "message"),
    [
        ({"CNN_JAX_ONEDNN": "0"}, "the environment has CNN_JAX_ONEDNN=0"),
        ({"PATH": "", "CXX": ""}, "need a C++ compiler: install g++"),
        ({"CXX": "false"}, "cannot be made: false failed"),
        ({"XDG_CACHE_HOME": os.devnull}, "cannot be made: [Errno 20] Not a directory"),
    ],
)
def test_without_it_all_works_and_one_line_says_why(environment, message, tmp_path):
    environ = {**os.environ, "XDG_CACHE_HOME": str(tmp_path), **environment}
    command = [sys.executable, "-c", PROGRAM]
    done = subprocess.run(command, env=environ, capture_output=True, text=True, check=True)
    assert done.stdout.startswith("18.0 convolutions by XLA: ") and message in done.stdout
    assert len(done.stdout.splitlines()) == 1


@pytest.mark.parametrize(("told", "threads"), [("3", 3), ("5,2", 5), ("many", 1), ("0", 1)])
def test_openmp_s_own_variable_says_how_many_threads(told, threads, monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", told)
    monkeypatch.setattr(jax, "local_device_count", lambda backend: 1000)
    assert library.threads_per_call.__wrapped__() == threads


def test_two_processes_that_compile_at_once(tmp_path):
    environ = {**os.environ, "XDG_CACHE_HOME": str(tmp_path)}
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", PROGRAM], env=environ, stdout=subprocess.PIPE, text=True
        )
        for _ in range(2)
    ]
    for process in processes:
        assert "18.0 convolutions by oneDNN" in process.communicate()[0]
    assert len(list(tmp_path.rglob("*"))) == 3  # two folders and the library


def test_geometry_is_part_of_what_is_asked():
    shapes = ((2, 5, 5, 4), (3, 3, 4, 8), (2, 3, 3, 8))
    geometry = Geometry((1, 1), ((0, 0), (0, 0)), (1, 1), 1)
    takes = functools.partial(onednn.takes, "convolve", np.dtype(np.float32), *shapes)
    assert takes(geometry) and not takes(geometry._replace(stride=(2, 2)))


def test_each_operator_is_asked_by_itself():
    # The first hidden layer of FCN on VGG: oneDNN has its kernel gradient in a plain loop only.
    shapes = (4, 6, 8, 512), (7, 7, 512, 4096), (4, 6, 8, 4096)
    geometry = Geometry((1, 1), ((3, 3), (3, 3)), (1, 1), 1)
    for name in ("convolve", "spread"):
        assert onednn.takes(name, np.dtype(np.float32), *shapes, geometry)
