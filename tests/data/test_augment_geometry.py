"""Image, mask, boxes, instances and pixel weights move together."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from cnn_jax.data import (
    IGNORED,
    apply_augment,
    augment_examples,
    random_crop,
    random_elastic,
    random_flip,
    random_resized_crop,
    random_rotation,
    random_scale,
    random_scale_crop,
    random_translation,
)
from cnn_jax.data.augment import (
    RandomCrop,
    RandomElastic,
    RandomFlip,
    RandomResizedCrop,
    RandomTranslation,
    geometry,
)
from cnn_jax.data.scenes import scene
from tests.tolerance import assert_close

HEIGHT, WIDTH = 24, 32
EVERY = (
    random_crop(3),
    random_crop(3, "reflect"),
    random_flip(),
    random_resized_crop((12, 20), scale=(0.3, 0.9)),
    random_rotation(90),
    random_translation(0.3),
    random_scale(0.6, 1.6),
    random_scale_crop((20, 30)),
    random_elastic(2.0),
)


def rectangle(x0=10, y0=6, x1=19, y1=15):
    """A white rectangle on black, with its mask and its box."""
    image = np.zeros((HEIGHT, WIDTH, 3), np.float32)
    image[y0:y1, x0:x1] = 1
    return {
        "image": jnp.asarray(image),
        "mask": jnp.asarray(image[..., 0].astype(np.int32)),
        "boxes": jnp.array([[x0, y0, x1, y1]], jnp.float32),
    }


def keys(count, seed=0):
    return jax.random.split(jax.random.key(seed), count)


@pytest.mark.parametrize("augment", EVERY, ids=repr)
def test_the_box_and_the_mask_stay_on_the_object(augment):
    count = 20
    batch = jax.tree.map(lambda a: jnp.broadcast_to(a, (count, *a.shape)), rectangle())

    @jax.jit
    def both(keys, batch):
        return augment_examples([augment], keys, batch), apply_augment(
            [augment], keys, batch["image"]
        )

    moved, alone = both(keys(count), batch)
    assert_close(alone, moved["image"], rtol=1e-6)
    assert moved["mask"].dtype == jnp.int32 and moved["boxes"].dtype == jnp.float32
    parts = (np.asarray(moved[name]) for name in ("image", "mask", "boxes"))
    for image, mask, boxes in zip(*parts, strict=True):
        object = mask == 1
        # Bilinear and nearest differ only at edges: half a pixel on each side of the middle grey.
        unsure = (image[..., 0] > 0.01) & (image[..., 0] < 0.99)
        assert np.all((object == (image[..., 0] > 0.5)) | unsure)
        if not object.any():
            continue
        rows, columns = np.nonzero(object)
        x0, y0, x1, y1 = boxes[0]
        seen = np.array([columns.min(), rows.min(), columns.max() + 1, rows.max() + 1])
        if "reflect" in repr(augment):
            continue  # a mirrored part has no box
        assert x0 <= seen[0] + 1 and y0 <= seen[1] + 1 and x1 >= seen[2] - 1 and y1 >= seen[3] - 1
        if not isinstance(augment, type(random_rotation(0))):  # whose hull is larger
            assert np.abs(boxes[0] - seen).max() <= 1.01 * max(1, image.shape[0] / HEIGHT * 2)
        if isinstance(augment, RandomElastic):
            assert boxes[0].tolist() == seen.tolist()


def test_other_entries_of_an_example_are_passed_on():
    batch = {"image": jnp.zeros((3, 4, 5, 1)), "label": jnp.arange(3)}
    moved = augment_examples([random_flip()], keys(3), batch)
    assert moved["label"].tolist() == [0, 1, 2] and moved.keys() == batch.keys()


def scenes(count=24):
    """Scenes with floating images, and every entry that has a place in the image."""
    drawn = [scene((5, number), 32) for number in range(count)]
    batch = {name: jnp.asarray(np.stack([one[name] for one in drawn])) for name in drawn[0]}
    weights = 1 + batch["mask"].astype(jnp.float32) / 2
    return batch | {"image": batch["image"].astype(jnp.float32) / 255, "pixel_weight": weights}


def recomputed(instances, labels):
    """The mask and the tight boxes of instances whose classes are labels; zeros where none is."""
    classes = np.array([0, *labels])
    boxes = np.zeros((len(labels), 4), np.float32)
    for row in range(len(labels)):
        ys, xs = np.nonzero(instances == row + 1)
        if len(ys):
            boxes[row] = xs.min(), ys.min(), xs.max() + 1, ys.max() + 1
    return classes[instances], boxes


@pytest.mark.parametrize("augment", EVERY, ids=repr)
def test_mask_boxes_and_labels_are_those_of_the_moved_instances(augment):
    before = scenes()
    after = jax.jit(lambda keys, batch: augment_examples([augment], keys, batch))(keys(24), before)
    assert {name: value.dtype for name, value in after.items()} == {
        name: value.dtype for name, value in before.items()
    }
    exact = isinstance(augment, RandomFlip)
    moved = {name: np.asarray(value) for name, value in after.items()}
    seen_outside = False
    for number, labels in enumerate(np.asarray(before["box_labels"])):
        mask, boxes = recomputed(moved["instances"][number], labels)
        there = moved["boxes"][number]
        has_area = (there[:, 2] > there[:, 0]) & (there[:, 3] > there[:, 1])
        assert moved["box_labels"][number].tolist() == np.where(has_area, labels, -1).tolist()
        inside = moved["mask"][number] != IGNORED
        seen_outside |= not inside.all()
        assert not moved["instances"][number][~inside].any()
        weights = np.where(inside, 1 + moved["mask"][number] / 2, 0)
        assert moved["pixel_weight"][number].tolist() == weights.tolist()
        if "reflect" not in repr(augment):  # where a mirrored object is no instance
            assert np.array_equal(moved["mask"][number][inside], mask[inside])
        visible = boxes[:, 2] > 0
        assert np.all(has_area[visible])
        if exact:
            assert np.array_equal(there, boxes)
        # The box of a round shape that is cut, rotated or resized is no tighter than its hull.
        slack = 1 if isinstance(augment, RandomCrop | RandomTranslation) else 2
        assert np.all(there[visible, :2] <= boxes[visible, :2] + slack)
        assert np.all(there[visible, 2:] >= boxes[visible, 2:] - slack)
    inwards = RandomFlip | RandomResizedCrop
    assert seen_outside == (not isinstance(augment, inwards) and "reflect" not in repr(augment))


@pytest.mark.parametrize(("top", "left"), [(0, 0), (3, 7), (6, 1)])
def test_a_crop_of_rectangles_is_exact(top, left):
    instances = np.zeros((HEIGHT, WIDTH), np.uint8)
    corners = [(0, 0, 4, 5), (20, 2, 31, 9), (9, 15, 14, 23)]
    for number, (x0, y0, x1, y1) in enumerate(corners, start=1):
        instances[y0:y1, x0:x1] = number
    labels = np.array([2, 1, 3, -1], np.int32)
    classes = np.array([0, 2, 1, 3])
    example = {
        "image": jnp.asarray(instances[..., None], jnp.float32),
        "mask": jnp.asarray(classes[instances]),
        "instances": jnp.asarray(instances),
        "boxes": jnp.array([*corners, (0, 0, 0, 0)], jnp.float32),
        "box_labels": jnp.asarray(labels),
    }
    size = (HEIGHT - 6, WIDTH - 7)
    moved = geometry.crop(example, top, left, size)
    mask, boxes = recomputed(np.asarray(moved["instances"]), labels)
    expected = instances[top : top + size[0], left : left + size[1]]
    np.testing.assert_array_equal(moved["instances"], expected)
    np.testing.assert_array_equal(moved["mask"], mask)
    np.testing.assert_array_equal(moved["boxes"], boxes)
    left_over = np.where(boxes[:, 2] > 0, labels, -1)
    assert moved["box_labels"].tolist() == left_over.tolist()
    assert (top, left) != (6, 1) or left_over.tolist() == [-1, 1, 3, -1]


def test_a_quarter_turn_is_exact():
    example = rectangle()
    square = jax.tree.map(lambda a: a[:, :HEIGHT] if a.ndim > 1 and a.shape[0] != 1 else a, example)
    turned = jax.jit(geometry.rotate)(square, 90.0)  # counter-clockwise
    assert_close(turned["image"], np.rot90(square["image"]), atol=1e-5)
    np.testing.assert_array_equal(turned["mask"], np.rot90(square["mask"]))
    # What was at the right is at the top: x becomes y, and y counts from the left.
    assert_close(turned["boxes"], np.array([[6, HEIGHT - 19, 15, HEIGHT - 10]]), rtol=1e-6)


@pytest.mark.parametrize(
    "change",
    [
        lambda e: geometry.rotate(e, 0.0),
        lambda e: geometry.zoom(e, 1.0),
        lambda e: geometry.translate(e, 0, 0),
        lambda e: geometry.flip(geometry.flip(e)),
        lambda e: geometry.crop_and_resize(e, 0, 0, HEIGHT, WIDTH, (HEIGHT, WIDTH)),
        lambda e: geometry.resize_and_crop(e, HEIGHT, WIDTH, 0, 0, (HEIGHT, WIDTH)),
        lambda e: geometry.deform(e, jnp.zeros((3, 3, 2))),
        lambda e: geometry.crop(geometry.pad(e, 2), 2, 2, (HEIGHT, WIDTH)),
    ],
)
def test_nothing_changes(change):
    example = rectangle()
    example["image"] = jax.random.uniform(jax.random.key(0), example["image"].shape)
    assert_close(jax.jit(change)(example), example, rtol=1e-6)


def test_what_comes_from_outside_is_black_and_ignored():
    example = rectangle() | {"image": jnp.ones((HEIGHT, WIDTH, 3))}
    moved = geometry.translate(example, 5, -2)
    assert np.all(np.asarray(moved["image"][:, :5]) == 0)
    assert np.all(np.asarray(moved["image"][-2:]) == 0)
    assert np.all(np.asarray(moved["image"][:-2, 5:]) == 1)
    np.testing.assert_array_equal(moved["mask"][:-2, 5:], example["mask"][2:, :-5])
    assert set(np.unique(moved["mask"][-2:])) == set(np.unique(moved["mask"][:, :5])) == {IGNORED}
    padded = geometry.pad(example, 2)
    assert padded["image"].shape == (HEIGHT + 4, WIDTH + 4, 3)
    assert np.all(np.asarray(padded["mask"][:2]) == IGNORED)
    assert padded["boxes"].tolist() == [[12, 8, 21, 17]]


def test_a_mask_of_bytes_stays_one():
    example = rectangle()
    example["mask"] = example["mask"].astype(jnp.uint8)
    moved = geometry.rotate(geometry.pad(example, 2), 30.0)
    assert moved["mask"].dtype == jnp.uint8 and moved["mask"][0, 0] == IGNORED


def test_boxes_are_cut_at_the_border_and_do_not_come_back():
    example = {
        "image": jnp.zeros((10, 20, 1)),
        "boxes": jnp.array(
            [[1.0, 2.0, 5.0, 6.0], [8.0, 2.0, 12.0, 6.0], [0.0, 0.0, 0.0, 0.0]], jnp.float32
        ),
    }
    moved = geometry.translate(example, -5, 0)
    # The first has left by its right edge, the second was within, the third is filling.
    assert moved["boxes"].tolist() == [[0, 0, 0, 0], [3, 2, 7, 6], [0, 0, 0, 0]]
    back = geometry.rotate(geometry.translate(moved, 4, 1), 30.0)
    assert back["boxes"][0].tolist() == back["boxes"][2].tolist() == [0, 0, 0, 0]
    half = geometry.translate(example, -10, 0)
    assert half["boxes"][1].tolist() == [0, 2, 2, 6]
    none = geometry.rotate(example | {"boxes": jnp.zeros((0, 4))}, 10.0)
    assert none["boxes"].shape == (0, 4)


@pytest.mark.parametrize(
    ("height", "width", "scale", "ratio"),
    [
        (1, 1, (0.08, 1.0), (3 / 4, 4 / 3)),
        (2, 40, (0.5, 1.0), (3 / 4, 4 / 3)),
        (17, 9, (0.01, 0.02), (5.0, 6.0)),
        (32, 32, (0.08, 1.0), (0.1, 0.2)),
    ],
)
def test_a_random_part_lies_within_the_image(height, width, scale, ratio):
    augment = random_resized_crop(scale=scale, ratio=ratio)
    parts = jax.jit(jax.vmap(lambda key: augment.part(key, height, width)))(keys(200))
    top, left, part_height, part_width = np.asarray(parts).T
    assert min(top.min(), left.min()) >= 0 and min(part_height.min(), part_width.min()) >= 1
    assert np.all(top + part_height <= height) and np.all(left + part_width <= width)


def test_random_parts_have_areas_and_shapes_as_asked():
    augment = random_resized_crop(scale=(0.2, 0.6), ratio=(0.5, 2.0))
    part = jax.vmap(lambda key: augment.part(key, 300, 300))
    top, left, height, width = np.asarray(jax.jit(part)(keys(2_000))).T
    area, ratio = height * width / 300**2, width / height
    assert 0.19 < area.min() < 0.23 and 0.57 < area.max() < 0.61
    assert 0.49 < ratio.min() < 0.55 and 1.8 < ratio.max() < 2.01
    # Uniform: the means are within five of their standard deviations.
    assert abs(area.mean() - 0.4) < 5 * (0.4 / 12**0.5) / 2_000**0.5
    assert abs(np.log(ratio).mean()) < 5 * (np.log(4) / 12**0.5) / 2_000**0.5
    # So are the places, of all that there are.
    assert abs(top.mean() / (300 - height).mean() - 0.5) < 0.04
    assert abs(left.mean() / (300 - width).mean() - 0.5) < 0.04


def test_where_no_part_fits_the_middle_is_taken_in_an_allowed_shape():
    def part(height, width):
        # Parts of the image's area are always too wide or too high.
        augment = random_resized_crop(scale=(1.0, 1.0), ratio=(3 / 4, 4 / 3))
        return augment.part(jax.random.key(0), height, width).tolist()

    assert part(10, 100) == [0, 43, 10, 13]
    assert part(100, 10) == [43, 0, 13, 10]


def test_a_scaled_crop_can_have_another_size():
    batch = jax.random.uniform(jax.random.key(1), (3, 8, 10, 3))
    crops = apply_augment([random_resized_crop((5, 4))], keys(3), batch)
    assert crops.shape == (3, 5, 4, 3)
    assert float(crops.min()) >= 0 and float(crops.max()) <= 1


def test_translations_are_whole_pixels_up_to_the_fraction():
    image = {"image": jnp.zeros((10, 40, 1)).at[5, 20].set(1)}
    translate, places = jax.jit(random_translation(0.1)), set()
    for key in keys(200):
        moved = np.asarray(translate(key, image)["image"][..., 0])
        assert moved.max() == 1 and np.count_nonzero(moved) == 1
        places.add(tuple(int(place) for place in np.argwhere(moved)[0]))
    assert {row for row, _ in places} == {4, 5, 6}
    assert {column for _, column in places} == set(range(16, 25))


def test_scaled_crops_have_sizes_as_asked_and_are_anywhere():
    # The mask tells the place of each pixel.
    places = jnp.arange(40 * 40).reshape(40, 40)
    example = {"image": jnp.zeros((40, 40, 1)), "mask": places, "pixel_weight": jnp.ones((40, 40))}
    augment = jax.jit(jax.vmap(random_scale_crop((20, 20)), in_axes=(0, None)))
    moved = augment(keys(500), example)
    covered = np.asarray(moved["pixel_weight"]).mean(axis=(1, 2))
    assert covered.min() > 0.99 and moved["image"].shape == (500, 20, 20, 1)  # of 20 to 80 pixels
    rows, columns = np.divmod(np.asarray(moved["mask"]), 40)
    part = (columns[:, 0, -1] - columns[:, 0, 0] + 1) / 20
    assert 0.5 <= part.min() < 0.6 and 1.85 < part.max() <= 2.0
    assert abs((rows[:, 0, 0] / (40 - 20 * part + 1e-9)).mean() - 0.5) < 0.05
    smaller = jax.jit(random_scale_crop((30, 50), 0.5, 0.5))(keys(1)[0], example)
    assert smaller["pixel_weight"].sum() == 20 * 20 == smaller["pixel_weight"][:20, :20].sum()
    assert np.all(np.asarray(smaller["mask"])[20:] == IGNORED)


def test_displacements_are_gaussian_and_smooth():
    ramp = jnp.tile(jnp.arange(207.0)[None, :, None], (207, 1, 1))  # its value is the column
    deform = jax.jit(jax.vmap(random_elastic(5.0), in_axes=(0, None)))
    moved = np.asarray(deform(keys(300), {"image": ramp})["image"])[..., 0]
    # In the middle of the grid's cells the displacements are those that were drawn.
    right = (moved - np.arange(207))[:, 34::69, 103]
    assert abs(right.mean()) < 5 * 5 / 900**0.5 and 4.5 < right.std() < 5.5
    assert np.abs(np.diff(moved[:, 50:150, 50:150], axis=1)).max() < 1


@pytest.mark.usefixtures("no_shape_hook")
@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: random_resized_crop((0, 4)), "size=(0, 4), expected at least one pixel"),
        (lambda: random_resized_crop(scale=(0.5, 0.2)), "scale=(0.5, 0.2), expected 0 <"),
        (lambda: random_resized_crop(scale=(0.5, 2.0)), "largest <= 1"),
        (lambda: random_resized_crop(ratio=(0.0, 1.0)), "ratio=(0.0, 1.0)"),
        (lambda: random_rotation(-1), "random_rotation: degrees=-1, expected 0 or more"),
        (lambda: random_translation(1.5), "random_translation: fraction=1.5, expected 0 to 1"),
        (lambda: random_scale(1.2, 0.8), "low=1.2, high=0.8, expected 0 < low <= high"),
        (lambda: random_scale_crop((4, 0)), "size=(4, 0), expected at least one pixel"),
        (lambda: random_scale_crop(low=0), "random_scale_crop: low=0, high=2.0, expected 0 <"),
        (lambda: random_elastic(-1), "random_elastic: deviation=-1, grid=3, expected 0 or more"),
    ],
)
def test_wrong_arguments_are_named(make, message):
    with pytest.raises(ValueError) as error:
        make()
    assert message in str(error.value)
