"""The transformation network, against a transcription of PyTorch's example fast_neural_style."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from cnn_jax.models import TransformationNetwork, create_model
from cnn_jax.pretrained import from_torch, to_torch
from tests.tolerance import assert_close

SMALL = {"width": 3, "blocks": 1}


def draw(*shape):
    return np.random.default_rng(0).uniform(0, 255, shape)


def variables_of(model, images):
    """All parameters drawn, so that no scale is 1 and no bias 0."""
    shapes = jax.eval_shape(model.init, jax.random.key(0), jnp.asarray(images))
    rng = np.random.default_rng(1)
    return jax.tree.map(lambda one: jnp.asarray(0.3 * rng.standard_normal(one.shape)), shapes)


def test_parameters():
    model = create_model("transformation")
    shapes = jax.eval_shape(model.init, jax.random.key(0), jnp.zeros((1, 16, 16, 3)))
    assert sum(leaf.size for leaf in jax.tree.leaves(shapes)) == 1_679_235


def theirs(torch, state, x, blocks):
    """The forward pass of `TransformerNet` in examples/fast_neural_style, by its names."""
    F = torch.nn.functional

    def conv(name, x, stride=1, upsample=1):
        weight, bias = state[f"{name}.conv2d.weight"], state[f"{name}.conv2d.bias"]
        if upsample > 1:
            x = F.interpolate(x, mode="nearest", scale_factor=upsample)
        x = F.pad(x, [weight.shape[-1] // 2] * 4, mode="reflect")
        return F.conv2d(x, weight, bias, stride)

    def norm(name, x):
        return F.instance_norm(x, weight=state[f"{name}.weight"], bias=state[f"{name}.bias"])

    y = F.relu(norm("in1", conv("conv1", x)))
    y = F.relu(norm("in2", conv("conv2", y, stride=2)))
    y = F.relu(norm("in3", conv("conv3", y, stride=2)))
    for block in range(1, blocks + 1):
        name = f"res{block}"
        inner = F.relu(norm(f"{name}.in1", conv(f"{name}.conv1", y)))
        y = norm(f"{name}.in2", conv(f"{name}.conv2", inner)) + y
    y = F.relu(norm("in4", conv("deconv1", y, upsample=2)))
    y = F.relu(norm("in5", conv("deconv2", y, upsample=2)))
    return conv("deconv3", y)


def test_outputs_and_gradients_equal_pytorch_s_example():
    """Of an odd size, where the example gives more pixels."""
    torch = pytest.importorskip("torch", reason="torch is not installed")
    model, images = TransformationNetwork(**SMALL), draw(2, 13, 18, 3)
    with jax.enable_x64(True):
        variables = variables_of(model, images)

        @jax.jit
        def loss_and_output(variables):
            output = model.apply(variables, jnp.asarray(images))
            return jnp.sum(jnp.square(output)), output

        gradient, output = jax.jit(jax.grad(loss_and_output, has_aux=True))(variables)
        weights, gradients = to_torch(model, variables), to_torch(model, gradient)
        output = np.asarray(output)

    state = {name: torch.as_tensor(array).requires_grad_() for name, array in weights.items()}
    images = torch.as_tensor(images).permute(0, 3, 1, 2)
    expected = theirs(torch, state, images, SMALL["blocks"])[..., :13, :18]
    expected.square().sum().backward()
    assert_close(output, expected.detach().permute(0, 2, 3, 1).numpy())
    # A bias before a normalization has a gradient of rounding errors alone.
    largest = max(np.abs(array).max() for array in gradients.values())
    for name, array in gradients.items():
        assert_close(array, state[name].grad.numpy(), atol=1e-10 * largest)


def test_old_files_have_statistics_that_are_left_out():
    model = TransformationNetwork(**SMALL)
    variables = variables_of(model, np.zeros((1, 8, 8, 3)))
    state = to_torch(model, variables)
    for name in ("in1", "in5", "res1.in1"):
        width = len(state[f"{name}.weight"])
        state[f"{name}.running_mean"] = np.ones(width, np.float32)
        state[f"{name}.running_var"] = np.ones(width, np.float32)
    assert_close(from_torch(model, state), variables, rtol=1e-6)


@pytest.mark.parametrize("upsampling", ["nearest", "transposed"])
@pytest.mark.parametrize("size", [(1, 1), (5, 3), (9, 14)])
def test_any_size_comes_back(upsampling, size):
    model, images = TransformationNetwork(**SMALL, upsampling=upsampling), jnp.ones((1, *size, 3))
    variables = jax.eval_shape(model.init, jax.random.key(0), images)
    assert jax.eval_shape(model.apply, variables, images).shape == images.shape


def test_one_pixel_gives_one_finite_pixel():
    model, pixel = TransformationNetwork(**SMALL), jnp.full((1, 1, 1, 3), 128.0)
    output, _ = jax.jit(model.init_with_output)(jax.random.key(0), pixel)
    assert output.shape == (1, 1, 1, 3) and jnp.isfinite(output).all()


def test_transposed_convolutions_have_pytorch_s_names_too():
    model = TransformationNetwork(**SMALL, upsampling="transposed")
    variables = variables_of(model, np.zeros((1, 8, 8, 3)))
    state = to_torch(model, variables)
    # [in, out, height, width], as a torch.nn.ConvTranspose2d has it.
    assert state["deconv1.weight"].shape == (12, 6, 3, 3)
    assert_close(from_torch(model, state), variables, rtol=1e-6)


def test_bfloat16_leaves_parameters_and_output_in_float32():
    model, images = TransformationNetwork(**SMALL, dtype=jnp.bfloat16), jnp.ones((1, 8, 8, 3))
    variables = jax.eval_shape(model.init, jax.random.key(0), images)
    kept = jax.tree.leaves((variables, jax.eval_shape(model.apply, variables, images)))
    assert {leaf.dtype for leaf in kept} == {jnp.dtype(jnp.float32)}


@pytest.mark.usefixtures("no_shape_hook")
def test_what_makes_no_sense_is_refused():
    with pytest.raises(ValueError, match="upsampling must be one of 'nearest', 'transposed', got"):
        create_model("transformation", upsampling="bilinear")
    with pytest.raises(ValueError, match=r"looks like \[batch, channels, height, width\]"):
        create_model("transformation").init(jax.random.key(0), jnp.zeros((1, 3, 64, 64)))
