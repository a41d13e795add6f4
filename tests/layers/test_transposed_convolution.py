import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from jax import lax
from jax.test_util import check_grads

from cnn_jax.layers import ConvTranspose, conv2d, conv_transpose2d
from tests.layers.convolutions import draw_normal
from tests.tolerance import assert_close


@st.composite
def convolutions(draw):
    """Shapes of images and kernel of a convolution, its geometry, and its output's size."""
    image, kernel, geometry, out = [], [], [], []
    for _ in range(2):
        size, stride, dilation = (draw(st.integers(1, 3)) for _ in range(3))
        padding = draw(st.integers(0, 3)), draw(st.integers(0, 3))
        reach = (size - 1) * dilation + 1
        n = max(1, reach - sum(padding)) + draw(st.integers(0, 6))
        image.append(n)
        kernel.append(size)
        geometry.append((stride, padding, dilation))
        out.append((n + sum(padding) - reach) // stride + 1)
    stride, padding, dilation = (tuple(values) for values in zip(*geometry, strict=True))
    groups = draw(st.sampled_from([1, 1, 2, 3]))
    channels, features = draw(st.integers(1, 2)), groups * draw(st.integers(1, 2))
    batch = draw(st.integers(1, 2))
    settings = dict(stride=stride, padding=padding, dilation=dilation, groups=groups)
    return (batch, *image, groups * channels), (*kernel, channels, features), settings, out


@settings(max_examples=20, deadline=None, derandomize=True)
@given(convolutions())
def test_it_is_the_adjoint_of_convolution(case):
    """<conv2d(x, k), y> = <x, conv_transpose2d(y, k)>."""
    x_shape, kernel_shape, geometry, out = case
    # What convolution does not see at the bottom and right is the transposed one's to restore.
    lengths = (geometry[key] for key in ("stride", "padding", "dilation"))
    axes = zip(x_shape[1:3], kernel_shape[:2], out, *lengths, strict=True)
    rest = tuple(n + sum(p) - (k - 1) * d - 1 - (o - 1) * s for n, k, o, s, p, d in axes)
    x, kernel, y = draw_normal(0, x_shape, kernel_shape, (x_shape[0], *out, kernel_shape[3]))

    @jax.jit
    def both(x, y, kernel):
        back = conv_transpose2d(y, kernel, output_padding=rest, **geometry)
        return conv2d(x, kernel, **geometry), back

    with jax.enable_x64(True):
        forth, back = both(x, y, kernel)
        assert back.shape == x.shape
        # The sums may cancel; they are as exact as the size of their terms allows.
        size = np.linalg.norm(forth) * np.linalg.norm(y)
        assert_close(np.vdot(forth, y), np.vdot(x, back), atol=1e-12 * size)


def test_a_kernel_of_ones_as_large_as_the_stride_repeats_pixels():
    x = jnp.arange(6.0).reshape(1, 2, 3, 1)
    y = conv_transpose2d(x, jnp.ones((2, 2, 1, 1)), jnp.array([10.0]), stride=2)
    np.testing.assert_array_equal(y, 10 + x.repeat(2, axis=1).repeat(2, axis=2))


def test_every_pixel_puts_its_kernel():
    """Overlapping kernels add up; output padding is rows and columns that nothing reaches."""
    x = jnp.array([[1.0, 10.0]])[None, :, :, None]
    kernel = jnp.array([[1.0, 2.0, 3.0]])[:, :, None, None]
    y = conv_transpose2d(x, kernel, stride=2, output_padding=1)
    expected = np.array([[1, 2, 13, 20, 30, 0], [0] * 6])
    np.testing.assert_array_equal(y[0, :, :, 0], expected)


GEOMETRIES = [
    dict(stride=2, padding=1, output_padding=1),
    dict(stride=(1, 2), padding=((0, 1), (2, 0)), dilation=(2, 1), groups=2),
]


@pytest.mark.parametrize("geometry", GEOMETRIES)
def test_gradients_of_gradients(geometry):
    groups = geometry.get("groups", 1)
    x, kernel, bias = draw_normal(0, (2, 3, 4, 4), (3, 3, 2 // groups, 4), (2,))
    with jax.enable_x64(True):
        transposed = jax.jit(lambda *a: jnp.sin(conv_transpose2d(*a, **geometry)))
        check_grads(transposed, (x, kernel, bias), order=2, modes=["rev"], eps=1e-5, rtol=1e-5)


def test_gradients_in_a_scan_equal_those_outside():
    x, kernel = draw_normal(0, (2, 4, 4, 3), (3, 3, 3, 3))

    def step(kernel, _):
        def energy(kernel):
            return (conv_transpose2d(jnp.asarray(x), kernel, stride=2) ** 2).mean()

        return kernel - 0.1 * jax.grad(energy)(kernel), None

    with jax.enable_x64(True):
        scanned, _ = jax.jit(lambda kernel: lax.scan(step, kernel, None, length=3))(kernel)
        looped = jnp.asarray(kernel)
        for _ in range(3):
            looped, _ = step(looped, None)
        assert_close(scanned, looped)


def test_vmap_equals_a_loop():
    x, kernels = draw_normal(0, (2, 3, 3, 4), (3, 3, 3, 2, 4))
    with jax.enable_x64(True):
        ours = jax.grad(lambda k: (conv_transpose2d(jnp.asarray(x), k, stride=2) ** 2).sum())
        together = jax.vmap(ours)(jnp.asarray(kernels))
        assert_close(list(together), [ours(jnp.asarray(kernel)) for kernel in kernels])


def test_other_platforms_get_the_transposition_of_jax_itself():
    def convolutions(function):
        arguments = jnp.zeros((2, 4, 4, 6)), jnp.zeros((3, 3, 4, 6))
        text = jax.jit(function).trace(*arguments).lower(lowering_platforms=("cuda",)).as_text()
        lines = [line for line in text.splitlines() if "stablehlo.convolution" in line]
        return [line[line.index("dim_numbers") :] for line in lines]

    def reference(y, kernel):
        def convolve(x):
            layout = ("NHWC", "HWIO", "NHWC")
            return lax.conv_general_dilated(x, kernel, (2, 2), "VALID", dimension_numbers=layout)

        return jax.linear_transpose(convolve, jnp.zeros((2, 9, 9, 4)))(y)[0]

    assert convolutions(lambda y, k: conv_transpose2d(y, k, stride=2)) == convolutions(reference)


@pytest.mark.parametrize("shape", [(0, 3, 3, 4), (1, 1, 1, 4)])
def test_an_empty_batch_and_a_single_pixel(shape):
    def energy(x, kernel):
        return (conv_transpose2d(x, kernel, stride=2) ** 2).sum()

    arguments = jnp.ones(shape), jnp.ones((3, 3, 2, 4))
    assert conv_transpose2d(*arguments, stride=2).shape == (shape[0], *arguments_out(shape), 2)
    gradients = jax.jit(jax.grad(energy, argnums=(0, 1)))(*arguments)
    assert [g.shape for g in gradients] == [a.shape for a in arguments]
    assert all(np.isfinite(g).all() for g in gradients)


def arguments_out(shape):
    return tuple(2 * (n - 1) + 3 for n in shape[1:3])


def test_module_takes_pytorch_s_default_initialization():
    """Its fan in counts the features: 3 * 5 * 64 / 2."""
    layer = ConvTranspose(64, (3, 5), stride=2, groups=2)
    variables = layer.init(jax.random.key(0), jnp.zeros((1, 4, 4, 8)))
    bound = 1 / np.sqrt(3 * 5 * 32)
    assert variables["params"]["kernel"].shape == (3, 5, 32, 8)
    assert variables["params"]["bias"].shape == (64,)
    for parameter in variables["params"].values():
        assert 0.9 * bound < np.abs(parameter).max() <= bound
    assert layer.apply(variables, jnp.zeros((1, 4, 4, 8))).shape == (1, 9, 11, 64)


def test_module_computes_in_its_dtype():
    layer = ConvTranspose(4, 2, stride=2, dtype=jnp.bfloat16, use_bias=False)
    x = jnp.ones((1, 4, 4, 2))
    variables = layer.init(jax.random.key(0), x)
    assert variables["params"]["kernel"].dtype == jnp.float32
    assert layer.apply(variables, x).dtype == jnp.bfloat16


@pytest.mark.parametrize(
    ("kernel", "options", "message"),
    [
        ((3, 3, 2, 3), {}, "takes 3 channels, a multiple of 1, got images of shape"),
        ((3, 3, 2, 4), {"groups": 3}, "takes 4 channels, a multiple of 3"),
        ((3, 3, 2, 4), {"output_padding": 1}, "must be smaller than the stride"),
        ((3, 3, 2, 4), {"stride": 2, "output_padding": (1, 2)}, r"output_padding \(1, 2\) must"),
        ((3, 3, 2, 4), {"stride": 2, "output_padding": -1}, "must not be negative"),
        ((1, 1, 2, 4), {"padding": 2}, "the output would have 0x0 pixels"),
        ((3, 3, 2, 4), {"stride": 0}, "stride .* must be at least 1"),
        ((3, 3, 2, 4), {"padding": -1}, "must not be negative"),
    ],
)
@pytest.mark.usefixtures("no_shape_hook")
def test_wrong_arguments_are_named(kernel, options, message):
    with pytest.raises(ValueError, match=message):
        conv_transpose2d(jnp.zeros((1, 4, 4, 4)), jnp.zeros(kernel), **options)


def test_the_module_names_features_that_do_not_fit_its_groups():
    with pytest.raises(ValueError, match="features=3 is no multiple of groups=2"):
        ConvTranspose(3, 2, groups=2).init(jax.random.key(0), jnp.zeros((1, 4, 4, 2)))
