"""An image that is smaller than its canvas: its size, boxes and instances move with it."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from cnn_jax.data import (
    augment_examples,
    on_canvas,
    random_crop,
    random_elastic,
    random_flip,
    random_resized_crop,
    random_rotation,
    random_scale,
    random_scale_crop,
    random_translation,
)
from cnn_jax.data.augment import geometry

CANVAS, SIZE = (24, 32), (18, 20)
EVERY = (
    random_crop(3),
    random_flip(),
    random_resized_crop((12, 20), scale=(0.3, 0.9)),
    random_rotation(30),
    random_translation(0.2),
    random_scale(0.6, 1.6),
    random_scale_crop((20, 30)),
    random_elastic(1.0),
)


def example():
    """A white image with an object in row 1 of the boxes, a crowd in row 0 and padding."""
    instances = np.zeros(SIZE, np.uint8)
    instances[2:9, 3:8], instances[10:16, 11:19] = 1, 2
    found = on_canvas(
        {
            "image": np.ones((*SIZE, 3), np.float32),
            "instances": instances,
            "boxes": np.array([[3, 2, 8, 9], [11, 10, 19, 16], [0, 0, 0, 0]], np.float32),
            "box_labels": np.array([-1, 4, -1], np.int32),
            "crowd_labels": np.array([5, -1, -1], np.int32),
        },
        CANVAS,
    )
    return {name: jnp.asarray(value) for name, value in found.items()}


@pytest.mark.parametrize("augment", EVERY, ids=lambda one: type(one).__name__)
def test_the_image_stays_within_its_size_and_all_entries_move(augment):
    keys = jax.random.split(jax.random.key(0), 24)
    batch = {name: jnp.stack([value] * len(keys)) for name, value in example().items()}
    moved = jax.tree.map(np.asarray, jax.jit(lambda b: augment_examples([augment], keys, b))(batch))
    assert moved["size"].dtype == np.int32
    seen = []
    for number, (height, width) in enumerate(moved["size"].tolist()):
        bright = moved["image"][number, ..., 0] > 0.51  # not the blurred border
        assert not bright[height:].any() and not bright[:, width:].any()
        ys, xs = np.nonzero(bright)
        if len(ys):
            assert height - ys.max() <= 3 and width - xs.max() <= 3  # the smallest such part
        for row, label in ((0, moved["crowd_labels"]), (1, moved["box_labels"])):
            x0, y0, x1, y1 = moved["boxes"][number, row]
            ys, xs = np.nonzero(moved["instances"][number] == row + 1)
            assert label[number, row] == ((5, 4)[row] if x1 > x0 else -1)
            if len(ys):
                assert x0 - 1 <= xs.min() and xs.max() + 1 <= x1 + 1
                assert y0 - 1 <= ys.min() and ys.max() + 1 <= y1 + 1
                seen.append(row)
        assert (moved["box_labels"][number, [0, 2]] == -1).all()
        assert (moved["crowd_labels"][number, 1:] == -1).all()
    assert {0, 1} <= set(seen)


def test_an_image_is_mirrored_within_its_own_size():
    before = example()
    mirrored = jax.jit(geometry.flip)(before)
    assert mirrored["size"].tolist() == list(SIZE)
    np.testing.assert_array_equal(mirrored["image"], before["image"])
    own = np.asarray(before["instances"])[:, : SIZE[1]]
    np.testing.assert_array_equal(mirrored["instances"][:, : SIZE[1]], own[:, ::-1])
    assert mirrored["boxes"].tolist() == [[12, 2, 17, 9], [1, 10, 9, 16], [0, 0, 0, 0]]
    assert mirrored["crowd_labels"].tolist() == [5, -1, -1]


def test_sizes_of_crops():
    before = example()
    assert geometry.crop(before, 4, 5, (20, 10))["size"].tolist() == [14, 10]
    assert geometry.pad(before, 2)["size"].tolist() == [20, 22]
    # A part of the canvas beside the image has no pixels of it, and no size of zero.
    assert geometry.crop(before, 20, 0, (4, 32))["size"].min() >= 1
