"""The operators under every transformation give what JAX's own convolution gives."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax
from jax.sharding import AxisType, NamedSharding
from jax.sharding import PartitionSpec as P

from cnn_jax.layers import conv2d
from cnn_jax.layers.correlation import spread
from cnn_jax.layers.windows import Geometry, output_size
from tests.layers.convolutions import draw_normal, xla_convolution
from tests.tolerance import assert_close

GEOMETRIES = [
    Geometry((1, 1), ((1, 1), (1, 1)), (1, 1), 1),
    Geometry((2, 1), ((1, 0), (2, 1)), (1, 2), 2),
]
IMAGES = (4, 4, 5, 2)


def kernel_shape(geometry):
    return (3, 2, IMAGES[3] // geometry.groups, 4)


def convolutions(geometry):
    """Ours and JAX's, of images."""

    def ours(x, kernel):
        return conv2d(x, kernel, **geometry._asdict())

    return ours, lambda x, kernel: xla_convolution(x, kernel, *geometry)


def transposed(geometry):
    """Ours and JAX's, of outputs."""

    def ours(y, kernel):
        return spread(y, kernel, (y.shape[0], *IMAGES[1:]), geometry)

    def derived(y, kernel):
        images = jnp.zeros((y.shape[0], *IMAGES[1:]), y.dtype)
        convolve = lambda x: xla_convolution(x, kernel, *geometry)  # noqa: E731
        return jax.linear_transpose(convolve, images)(y)[0]

    return ours, derived


def repeated(x):
    return jnp.stack([x, jnp.cos(x), 2 * x])


def in_a_scan(f):
    def step(kernel, x):
        return kernel - 0.1 * jax.checkpoint(jax.grad(f, 1))(x, kernel), f(x, kernel)

    return lambda x, kernel: lax.scan(step, kernel, repeated(x))


TRANSFORMATIONS = {
    "jvp": lambda f: lambda x, k: jax.jvp(f, (x, k), (jnp.cos(x), jnp.cos(k))),
    "hessian": lambda f: jax.hessian(f, (0, 1)),
    "third derivative": lambda f: jax.grad(
        lambda x, k: jnp.sum(jax.jvp(lambda k: jax.grad(f)(x, k), (k,), (jnp.cos(k),))[1]), (0, 1)
    ),
    "vmap over images": lambda f: (
        lambda x, k: jax.vmap(jax.value_and_grad(f, (0, 1)), (0, None))(repeated(x), k)
    ),
    "vmap over kernels": lambda f: (
        lambda x, k: jax.vmap(jax.value_and_grad(f, (0, 1)), (None, 3))(
            x, jnp.moveaxis(repeated(k), 0, 3)
        )
    ),
    "vmap over both": lambda f: (
        lambda x, k: jax.vmap(jax.value_and_grad(f, (0, 1)))(repeated(x), repeated(k))
    ),
    "scan and checkpoint": in_a_scan,
}


@pytest.mark.parametrize("operator", [convolutions, transposed])
@pytest.mark.parametrize("geometry", GEOMETRIES)
@pytest.mark.parametrize("name", TRANSFORMATIONS)
def test_transformations(name, geometry, operator):
    size = output_size(IMAGES[1:3], kernel_shape(geometry)[:2], *geometry[:3])
    first = IMAGES if operator is convolutions else (IMAGES[0], *size, 4)
    x, kernel = draw_normal(0, first, kernel_shape(geometry))
    with jax.enable_x64(True):
        actual, expected = (
            jax.jit(TRANSFORMATIONS[name](lambda x, k, f=f: jnp.sum(jnp.sin(f(x, k)))))(x, kernel)
            for f in operator(geometry)
        )
        assert_close(actual, expected, rtol=1e-12, atol=1e-12)


def over_a_mesh(axis_type, f, x, kernel):
    mesh = jax.make_mesh((2, 2), ("a", "b"), axis_types=(axis_type,) * 2)
    with jax.set_mesh(mesh):
        x = jax.device_put(x, NamedSharding(mesh, P(("a", "b"))))
        kernel = jax.device_put(kernel, NamedSharding(mesh, P()))
        return jax.jit(f)(x, kernel)


def in_shard_map(check_vma, axes, f, x, kernel):
    mesh = jax.make_mesh((2, 2), ("a", "b"), axis_types=(AxisType.Auto,) * 2)

    def part(x, kernel):
        of_x, of_kernel = f(x, kernel)
        return of_x, of_kernel if check_vma else lax.psum(of_kernel, axes)

    divided = jax.shard_map(
        part,
        mesh=mesh,
        in_specs=(P(axes), P()),
        out_specs=(P(axes), P()),
        axis_names=set(axes),
        check_vma=check_vma,
    )
    return jax.jit(divided)(x, kernel)


def in_pmap(f, x, kernel):
    def part(x):
        of_x, of_kernel = f(x, kernel)
        return of_x, lax.psum(of_kernel, "devices")

    of_x, of_kernel = jax.pmap(part, axis_name="devices")(x[:, None])
    return of_x[:, 0], of_kernel[0]


def exported(f, x, kernel):
    any_batch = jax.ShapeDtypeStruct(jax.export.symbolic_shape("b, 4, 5, 2"), x.dtype)
    program = jax.export.export(jax.jit(f), platforms=["cpu", "cuda"])(any_batch, kernel)
    return program.call(x, kernel)


@pytest.mark.parametrize(
    "spread_out",
    [
        lambda *arguments: over_a_mesh(AxisType.Auto, *arguments),
        lambda *arguments: over_a_mesh(AxisType.Explicit, *arguments),
        lambda *arguments: in_shard_map(True, ("a", "b"), *arguments),
        lambda *arguments: in_shard_map(False, ("a", "b"), *arguments),
        lambda *arguments: in_shard_map(True, ("a",), *arguments),
        in_pmap,
        exported,
    ],
)
def test_programs(spread_out):
    geometry = GEOMETRIES[1]
    x, kernel = map(np.asarray, draw_normal(0, IMAGES, kernel_shape(geometry)))
    with jax.enable_x64(True):
        ours, derived = (
            jax.grad(lambda x, k, f=f: jnp.sum(jnp.sin(f(x, k))), (0, 1))
            for f in convolutions(geometry)
        )
        x, kernel = jnp.asarray(x), jnp.asarray(kernel)
        assert_close(spread_out(ours, x, kernel), derived(x, kernel), rtol=1e-12, atol=1e-12)


def test_images_and_kernel_have_one_dtype():
    with pytest.raises(TypeError, match="images of bfloat16 and a kernel of float32: convert one"):
        conv2d(jnp.zeros((1, 3, 3, 2), jnp.bfloat16), jnp.zeros((3, 3, 2, 2)))


@pytest.mark.parametrize(
    ("size", "window", "stride", "dilation"),
    [(1, 3, 1, 1), (2, 3, 1, 1), (2, 3, 2, 1), (6, 7, 1, 1), (4, 5, 1, 3)],
)
def test_on_cpus_a_kernel_larger_than_the_image_keeps_its_place(size, window, stride, dilation):
    x, kernel = draw_normal(0, (2, size, size, 4), (window, window, 4, 3))
    sides = ((window // 2 * dilation,) * 2,) * 2
    geometry = Geometry((stride, stride), sides, (dilation, dilation), 1)

    def value_and_gradients(convolution, x, kernel):
        y, back = jax.vjp(convolution, x, kernel)
        return y, back(jnp.cos(y))

    ours, theirs = (functools.partial(value_and_gradients, f) for f in convolutions(geometry))
    with jax.enable_x64(True):  # float64 is never oneDNN's
        program = jax.jit(ours).lower(x, kernel).compile()
        assert_close(program(x, kernel), theirs(x, kernel))
    # XLA would reverse and exchange them, and has no fast program for it.
    assert "rhs_reversal" not in program.as_text()
