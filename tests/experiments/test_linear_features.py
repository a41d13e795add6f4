"""The fields of units, the hand-made kernels, and the sheets of a run."""

from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from cnn_jax.models import SimpleCNN
from cnn_jax.tasks import Classification
from cnn_jax.training import Result
from experiments import linear_features
from experiments.linear_features import KERNELS, SMOKE, build, fields
from tests.tasks.specs import image_spec
from tests.tolerance import assert_close


def result(**changes) -> Result:
    task = Classification(SimpleCNN((3, 4, 5), norm="none", **changes))
    params, _ = task.init(jax.random.key(0), image_spec((28, 28, 1)))
    experiment = replace(build(SMOKE), task=task)
    return Result(experiment, (), None, {}, [], {"params": params}, lambda split: None)


@pytest.mark.parametrize("kernel_size", [3, 5])
def test_a_unit_sees_its_field_and_nothing_else(kernel_size):
    one = result(kernel_size=kernel_size)
    model, variables = one.experiment.task.model, one.variables
    # Pooling passes the gradient of its largest pixel alone: many images show all of the field.
    images = jax.random.normal(jax.random.key(1), (256, 28, 28, 1))
    for layer, field in fields(one).items():
        if layer == linear_features.HEAD:
            continue
        place = 2 if layer == "stage2" else 3

        def total(images, layer=layer, place=place):
            return model.apply(variables, images, method="features")[layer][:, place, 1].sum()

        seen = np.abs(np.asarray(jax.grad(total)(images))).max(axis=(0, 3)) > 0
        rows, columns = (np.flatnonzero(seen.any(axis=axis)) for axis in (1, 0))
        for found, index in ((rows, place), (columns, 1)):
            first = index * field.stride + field.start
            assert found.min() >= max(first, 0)
            assert found.max() < min(first + field.size, 28)
        if layer == "stem":
            assert len(rows) == len(columns) == field.size
    assert [field.size for field in fields(result()).values()][:3] == [4, 10, 22]


def test_a_patch_beyond_the_border_is_filled_with_the_mean():
    image = np.arange(16, dtype=np.float32).reshape(4, 4, 1)
    field = linear_features.Field(size=4, stride=2, start=-1)
    patch = field.cut(image, (0, 1), np.array([-5.0], np.float32))
    np.testing.assert_array_equal(patch[0, :, 0], [-5, -5, -5, -5])
    np.testing.assert_array_equal(patch[1, :, 0], [1, 2, 3, -5])


def test_kernels_keep_brightness_or_see_change_alone():
    flat = np.full((8, 9, 3), 0.4, np.float32)
    sums = {name: float(kernel.sum()) for name, kernel in KERNELS.items()}
    assert set(np.round(list(sums.values()), 5)) == {0, 1}
    for name, kernel in KERNELS.items():
        response = linear_features.respond(flat, kernel)
        channels = 3 if sums[name] > 0.5 else 1
        assert_close(response, np.full((8, 9, channels), 0.4 * round(sums[name])), atol=1e-6)


def test_sobel_is_positive_from_dark_to_bright():
    step = np.repeat((np.arange(8) > 3).astype(np.float32)[None, :, None], 8, axis=0)
    image = np.repeat(step, 3, axis=2)
    names = list(KERNELS)
    across = linear_features.respond(image, KERNELS[names[4]])
    assert float(jnp.max(across)) == 4 and float(jnp.min(across)) == 0
    assert_close(linear_features.respond(image, KERNELS[names[5]]), np.zeros((8, 8, 1)))


def test_patches_stand_in_two_rows():
    shown = linear_features.patch_grid([np.full((2, 3, 1), value / 8) for value in range(4)])
    assert shown.shape == (5, 7, 3)
    assert (shown[[0, 0, -1], [0, -1, 0], 0] == [0, 1 / 8, 2 / 8]).all()
    assert (shown[2] == linear_features.LINE_COLOUR).all()
    assert (shown[:, 3] == linear_features.LINE_COLOUR).all()


def test_a_run_leaves_both_sheets(start, tmp_path):
    start("linear_features", "--smoke", "--name", "one")
    figures = tmp_path / "linear_features" / "one" / "figures"
    for name in ("kernels", "layers"):
        assert (figures / f"{name}.png").stat().st_size > 10_000
