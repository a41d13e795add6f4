"""What changes the image alone."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from cnn_jax.data import (
    apply_augment,
    augment_examples,
    colour_jitter,
    cutout,
    random_brightness,
    random_contrast,
    random_hue,
    random_lighting,
    random_noise,
    random_saturation,
)
from cnn_jax.data.augment import colour
from tests.tolerance import assert_close

EVERY = (
    random_brightness(0.4),
    random_contrast(0.4),
    random_saturation(0.4),
    random_hue(0.1),
    colour_jitter(),
    random_noise(0.1),
    random_lighting(0.1),
    cutout(3),
)
RED, GREEN, BLUE, WHITE, BLACK = np.array(
    [[1.0, 0, 0], [0, 1, 0], [0, 0, 1], [1, 1, 1], [0, 0, 0]], np.float32
)


def keys(count, seed=0):
    return jax.random.split(jax.random.key(seed), count)


def pixels(*colours):
    return jnp.stack([jnp.asarray(one, jnp.float32) for one in colours])[None]


@pytest.mark.parametrize("augment", EVERY, ids=repr)
def test_images_stay_in_0_to_1_and_boxes_and_masks_stay(augment):
    shape = (40, 6, 5, 3)
    images = jax.random.uniform(jax.random.key(1), shape).at[:, 0].set(0).at[:, 1].set(1)
    batch = {"image": images, "mask": jnp.ones(shape[:3], int), "boxes": jnp.ones((40, 2, 4))}
    changed = jax.jit(lambda keys, batch: augment_examples([augment], keys, batch))(keys(40), batch)
    assert jnp.array_equal(changed["mask"], batch["mask"])
    assert jnp.array_equal(changed["boxes"], batch["boxes"])
    image = np.asarray(changed["image"])
    assert image.shape == shape and image.min() >= 0 and image.max() <= 1
    differences = np.abs(image - np.asarray(images)).sum(axis=(1, 2, 3))
    assert np.all(differences > 0) and len(set(differences.tolist())) > 10


def test_gray_images_work():
    augment = [one for one in EVERY if one != random_lighting(0.1)]
    images = jax.random.uniform(jax.random.key(1), (4, 6, 5, 1))
    changed = jax.jit(lambda keys, images: apply_augment(augment, keys, images))(keys(4), images)
    assert changed.shape == images.shape and np.all(np.isfinite(changed))


def test_blends_by_hand():
    image = pixels(RED, WHITE)
    assert_close(colour.adjust_brightness(image, 0.5), image / 2, rtol=1e-6)
    assert_close(colour.adjust_brightness(image, 2.0), image)
    grey = (0.2989 + 0.9999) / 2
    assert_close(colour.adjust_contrast(image, 0.0), jnp.full((1, 2, 3), grey), rtol=1e-6)
    expected = [[[0.5 + grey / 2, grey / 2, grey / 2], [0.5 + grey / 2] * 3]]
    assert_close(colour.adjust_contrast(image, 0.5), np.array(expected), rtol=1e-6)
    without = colour.adjust_saturation(image, 0.0)
    assert_close(without, np.array([[[0.2989] * 3, [0.9999] * 3]]), rtol=1e-6)
    assert_close(colour.adjust_saturation(image, 1.0), image)


def test_a_third_of_a_turn_takes_red_to_green():
    image = pixels(RED, GREEN, BLUE, WHITE, BLACK, [0.4, 0.4, 0.4])
    turned = pixels(GREEN, BLUE, RED, WHITE, BLACK, [0.4, 0.4, 0.4])
    assert_close(colour.adjust_hue(image, 1 / 3), turned, rtol=1e-5)
    assert_close(colour.adjust_hue(turned, -1 / 3), image, rtol=1e-5)
    assert_close(colour.adjust_hue(image, 0.0), image, rtol=1e-6)


def test_lighting_moves_all_pixels_along_the_principal_colours():
    image = jnp.full((2, 2, 3), 0.5)
    shift = np.asarray(colour.add_lighting(image, jnp.array([1.0, 0.0, 0.0]))) - 0.5
    expected = 0.2175 * np.array([-0.5675, -0.5808, -0.5836])
    assert_close(shift, np.broadcast_to(expected, (2, 2, 3)), rtol=1e-5)
    vectors = np.array(colour.EIGENVECTORS)
    assert_close(vectors.T @ vectors, np.eye(3), rtol=1e-3)  # orthonormal, of four digits


def test_noise_has_its_deviation():
    images = jnp.full((50, 20, 20, 3), 0.5)
    noise = np.asarray(apply_augment([random_noise(0.05)], keys(50), images)) - 0.5
    assert abs(noise.mean()) < 5 * 0.05 / noise.size**0.5
    assert abs(noise.std() - 0.05) < 5 * 0.05 / (2 * noise.size) ** 0.5


def test_cutout_fills_a_square_whose_centre_is_anywhere():
    images = jnp.zeros((2_000, 6, 8, 1))
    cut = np.asarray(apply_augment([cutout(4, fill=0.25)], keys(2_000), images))[..., 0]
    assert set(np.unique(cut)) == {0.0, 0.25}
    filled = cut > 0
    heights, widths = filled.any(2).sum(1), filled.any(1).sum(1)
    assert np.array_equal(filled.sum((1, 2)), heights * widths)
    assert heights.max() == widths.max() == 4 and heights.min() == widths.min() == 2
    # 6 centres of a column: at 2 to 4 the square of 4 pixels lies within, at 1 and 5 it loses one.
    assert abs((heights == 4).mean() - 3 / 6) < 0.06
    assert abs((widths == 4).mean() - 5 / 8) < 0.06


def test_factors_are_uniform_around_one_and_not_negative():
    images = jnp.full((3_000, 1, 1, 1), 0.25)
    values = np.asarray(apply_augment([random_brightness(0.5)], keys(3_000), images)) / 0.25
    assert 0.5 <= values.min() < 0.51 and 1.49 < values.max() <= 1.5001
    assert abs(values.mean() - 1) < 5 * (1 / 12**0.5) / 3_000**0.5
    dark = np.asarray(apply_augment([random_brightness(3.0)], keys(500), images[:500]))
    assert dark.min() >= 0 and dark.min() < 0.01


def test_a_jitter_leaves_out_what_is_zero():
    images = jax.random.uniform(jax.random.key(1), (4, 5, 5, 3))
    assert_close(apply_augment([colour_jitter(0, 0, 0, 0)], keys(4), images), images)
    only = apply_augment([colour_jitter(0, 0, 0, 0.2)], keys(4), images)
    # Turning hues keeps the largest and the least channel of every pixel.
    assert_close(only.max(-1), images.max(-1), rtol=1e-5)
    assert_close(only.min(-1), images.min(-1), rtol=1e-5, atol=1e-6)
    assert np.abs(np.asarray(only - images)).max() > 0.01


@pytest.mark.usefixtures("no_shape_hook")
@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: random_brightness(-0.1), "random_brightness: amount=-0.1, expected 0 or more"),
        (lambda: random_contrast(-0.1), "random_contrast: amount=-0.1"),
        (lambda: random_saturation(-0.1), "random_saturation: amount=-0.1"),
        (lambda: random_hue(0.6), "random_hue: amount=0.6, expected 0 to 0.5 of the circle"),
        (lambda: colour_jitter(hue=0.7), "random_hue: amount=0.7"),
        (lambda: random_noise(-1), "random_noise: std=-1"),
        (lambda: random_lighting(-1), "random_lighting: std=-1"),
        (lambda: cutout(0), "cutout: size=0, expected at least one pixel"),
        (
            lambda: colour.add_lighting(jnp.zeros((2, 2, 1)), jnp.zeros(3)),
            "add_lighting: image of shape (2, 2, 1), expected three channels",
        ),
        (lambda: colour.adjust_hue(jnp.zeros((2, 2, 4)), 0.1), "adjust_hue: image of shape"),
        (lambda: colour.adjust_contrast(jnp.zeros((2, 2, 2)), 0.1), "grey: image of shape"),
    ],
)
def test_what_is_wrong_is_named(call, message):
    with pytest.raises(ValueError) as error:
        call()
    assert message in str(error.value)
