from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from cnn_jax.layers import pyramid_levels, pyramid_roi_align, roi_align, roi_pool
from tests.layers.detection import drawn_boxes, onnx_cases, torchvision  # noqa: F401 (a fixture)
from tests.tolerance import assert_close

SETTINGS = [(ratio, aligned) for ratio in (0, 1, 2) for aligned in (False, True)]


def align_one(x, box, cells, scale, ratio, aligned):
    """The kernel of He et al.'s Caffe2 operator for a box, in loops."""
    (rows, columns), shift = x.shape[:2], 0.5 if aligned else 0
    x0, y0, x1, y1 = np.asarray(box) * scale - shift
    width, height = x1 - x0, y1 - y0
    if not aligned:
        width, height = max(width, 1), max(height, 1)
    ny, nx = (ratio or max(int(np.ceil(side / cells)), 0) for side in (height, width))
    out = np.zeros((cells, cells, x.shape[2]))

    def sample(y, x_):
        if y < -1 or y > rows or x_ < -1 or x_ > columns:
            return 0
        y, x_ = np.clip(y, 0, rows - 1), np.clip(x_, 0, columns - 1)
        top, left = int(y), int(x_)
        bottom, right = min(top + 1, rows - 1), min(left + 1, columns - 1)
        ly, lx = y - top, x_ - left
        upper = x[top, left] * (1 - lx) + x[top, right] * lx
        return upper * (1 - ly) + (x[bottom, left] * (1 - lx) + x[bottom, right] * lx) * ly

    for p in range(cells):
        for q in range(cells):
            for i in range(ny):
                for j in range(nx):
                    y = y0 + p * height / cells + (i + 0.5) * (height / cells) / ny
                    out[p, q] += sample(
                        y, x0 + q * width / cells + (j + 0.5) * (width / cells) / nx
                    )
    return out / max(ny * nx, 1)


def pool_one(x, box, cells, scale):
    """The kernel of Fast R-CNN's RoIPool for a box, in loops."""
    x0, y0, x1, y1 = np.floor(np.asarray(box) * scale + 0.5).astype(int)
    height, width = max(y1 - y0 + 1, 1) / cells, max(x1 - x0 + 1, 1) / cells
    out = np.zeros((cells, cells, x.shape[2]))
    for p in range(cells):
        for q in range(cells):
            top, bottom = np.clip(
                [np.floor(p * height) + y0, np.ceil((p + 1) * height) + y0], 0, len(x)
            )
            left, right = np.clip(
                [np.floor(q * width) + x0, np.ceil((q + 1) * width) + x0], 0, x.shape[1]
            )
            part = x[int(top) : int(bottom), int(left) : int(right)]
            out[p, q] = part.max((0, 1)) if part.size else 0
    return out


def maps_and_boxes(images=2, number=6):
    rng = np.random.default_rng(0)
    x = rng.normal(size=(images, 7, 9, 2))
    boxes = np.stack([drawn_boxes(rng, number, side=14) for _ in range(images)])
    # Some reach out of the image, and some lie outside.
    boxes[:, 0] += 10
    boxes[:, 1] -= 9
    boxes[:, 2, 2:] += 30
    return x, boxes


@pytest.mark.parametrize(("ratio", "aligned"), SETTINGS)
def test_align_is_that_of_the_loops(ratio, aligned):
    x, boxes = maps_and_boxes()
    options = {"scale": 0.5, "sampling_ratio": ratio, "aligned": aligned}
    with jax.enable_x64(True):
        actual = jax.jit(partial(roi_align, size=3, **options))(jnp.asarray(x), jnp.asarray(boxes))
    for image, of_image in enumerate(boxes):
        expected = [align_one(x[image], box, 3, 0.5, ratio, aligned) for box in of_image]
        assert_close(actual[image], np.stack(expected))


def test_pool_is_that_of_the_loops():
    x, boxes = maps_and_boxes()
    with jax.enable_x64(True):
        actual = jax.jit(partial(roi_pool, size=3, scale=0.5))(jnp.asarray(x), jnp.asarray(boxes))
    for image, of_image in enumerate(boxes):
        expected = [pool_one(x[image], box, 3, 0.5) for box in of_image]
        assert_close(actual[image], np.stack(expected))


def test_the_gradient_of_pooling_goes_to_the_first_maximum():
    x = jnp.zeros((1, 2, 2, 1))
    box = jnp.array([[[0.0, 0, 1, 1], [0, 0, 0, 1]]])
    gradient = jax.grad(lambda x: (roi_pool(x, box, 1).ravel() * jnp.array([1.0, 5])).sum())(x)
    assert gradient.ravel().tolist() == [6, 0, 0, 0]


@pytest.mark.parametrize(("ratio", "aligned"), SETTINGS)
def test_align_and_its_gradient_equal_torchvisions(torchvision, ratio, aligned):  # noqa: F811
    import torch
    from torchvision.ops import roi_align as reference

    rng, scale = np.random.default_rng(ratio), 0.25
    x, boxes = rng.normal(size=(6, 12, 12, 2)), np.stack([drawn_boxes(rng, 14) for _ in range(6)])
    if aligned and not ratio:
        # The gradient of torchvision's Python code is NaN for boxes without area.
        boxes[..., 2:] += 0.5
    weights = rng.normal(size=(6, 14, 3, 2, 2))
    options = {"sampling_ratio": ratio, "aligned": aligned}
    torch_x = torch.tensor(x).permute(0, 3, 1, 2).requires_grad_()
    with torch.compiler.set_stance("force_eager"):
        numbers = np.repeat(np.arange(6.0), 14)[:, None]
        rois = torch.tensor(np.concatenate([numbers, boxes.reshape(-1, 4)], axis=1))
        pooled = reference(torch_x, rois, (3, 2), scale, ratio or -1, aligned)
    expected = pooled.permute(0, 2, 3, 1).reshape(weights.shape)
    (expected * torch.tensor(weights)).sum().backward()

    def weighted(x):
        y = roi_align(x, jnp.asarray(boxes), (3, 2), scale=scale, **options)
        return jnp.sum(y * weights), y

    with jax.enable_x64(True):
        (_, actual), gradient = jax.jit(jax.value_and_grad(weighted, has_aux=True))(x)
    assert_close(actual, expected.detach().numpy())
    assert_close(gradient, torch_x.grad.permute(0, 2, 3, 1).numpy())


def test_levels():
    sides = jnp.array([0.0, 100, 111.9, 112, 223.9, 224, 448, 5000])
    boxes = jnp.stack([sides * 0, sides * 0, sides, sides], axis=-1)
    assert pyramid_levels(boxes, 2, 5).tolist() == [2, 2, 2, 3, 3, 4, 5, 5]


def test_boxes_are_aligned_at_their_levels():
    rng = np.random.default_rng(0)
    levels = [jnp.asarray(rng.normal(size=(2, n, n + 1, 3))) for n in (16, 8, 4)]
    boxes = jnp.asarray(np.stack([drawn_boxes(rng, 12, side=32) for _ in range(2)]))
    # The first level is the highest resolution, of stride 2 and number 1.
    options = {"canonical_size": 6, "canonical_level": 2}
    level = pyramid_levels(boxes, 1, 3, **options)
    assert set(np.unique(level)) == {1, 2, 3}
    actual = pyramid_roi_align(levels, boxes, (3, 2), strides=(2, 4, 8), **options)
    for number, x in enumerate(levels):
        one = roi_align(x, boxes, (3, 2), scale=1 / 2 ** (number + 1), sampling_ratio=2)
        there = np.asarray(level == number + 1)
        assert_close(actual[there], one[there], rtol=1e-5)


@pytest.mark.full
def test_align_equals_onnx():
    cases = onnx_cases()
    for aligned in (False, True):
        case = cases[f"test_roialign_aligned_{str(aligned).lower()}"]
        attributes = {a.name: a for a in case.model.graph.node[0].attribute}
        size = attributes["output_height"].i, attributes["output_width"].i
        ratio, scale = attributes["sampling_ratio"].i, attributes["spatial_scale"].f
        (((x, rois, of_roi), (expected,)),) = case.data_sets
        maps = jnp.asarray(x).transpose(0, 2, 3, 1)[of_roi]
        boxes = jnp.asarray(rois)[:, None]
        y = roi_align(maps, boxes, size, scale=scale, sampling_ratio=ratio, aligned=aligned)
        np.testing.assert_allclose(y[:, 0].transpose(0, 3, 1, 2), expected, rtol=1e-3, atol=1e-4)


@pytest.mark.usefixtures("no_shape_hook")
def test_what_makes_no_sense_is_named():
    x, boxes = jnp.ones((1, 4, 4, 1)), jnp.ones((1, 2, 4))
    with pytest.raises(ValueError, match=r"boxes must have the axes \[batch, boxes, 4\]"):
        roi_align(x, boxes[0], 2)
    with pytest.raises(ValueError, match=r"size \(0, 2\) must be at least 1"):
        roi_pool(x, boxes, (0, 2))
    with pytest.raises(ValueError, match="sampling_ratio must be at least 0, got -1"):
        roi_align(x, boxes, 2, sampling_ratio=-1)
