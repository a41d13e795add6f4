import pytest

from cnn_jax.data import (
    RandomCrop,
    RandomFlip,
    colour_jitter,
    cutout,
    random_brightness,
    random_crop,
    random_flip,
    random_hue,
    random_lighting,
    random_resized_crop,
    random_rotation,
    random_saturation,
)
from cnn_jax.data.augment import suited_to


def test_characters_are_not_mirrored_and_small_images_not_shifted_far():
    offered = [random_crop(4), random_flip()]
    assert suited_to(offered, "cifar10", (32, 32, 3)) == (tuple(offered), ())
    assert suited_to(offered, "fashion_mnist", (28, 28, 1)) == (tuple(offered), ())
    for name in ("mnist", "emnist/letters"):
        kept, notes = suited_to(offered, name, (28, 28, 1))
        assert kept == (RandomCrop(4),)
        assert len(notes) == 1 and name in notes[0]
    kept, notes = suited_to(offered, "digits", (8, 8, 1))
    assert kept == (RandomCrop(1),)
    assert "padding 1 instead of 4" in notes[0] and "mirror" in notes[1]
    assert suited_to([RandomFlip()], "./my_photos", (8, 8, 3)) == ((RandomFlip(),), ())


def test_characters_are_slanted_but_not_turned():
    kept, notes = suited_to([random_rotation(90)], "mnist", (28, 28, 1))
    assert kept == (random_rotation(15),)
    assert "15 degrees instead of 90" in notes[0]
    for name, degrees in (("mnist", 10), ("cifar10", 90)):
        assert suited_to([random_rotation(degrees)], name, (28, 28, 1))[1] == ()


@pytest.mark.parametrize(
    ("one", "name"),
    [
        (random_saturation(0.5), "random_saturation"),
        (random_hue(0.1), "random_hue"),
        (random_lighting(), "random_lighting"),
    ],
)
def test_gray_images_have_no_colours(one, name):
    offered = [one, random_brightness(0.5)]
    kept, notes = suited_to(offered, "fashion_mnist", (28, 28, 1))
    assert kept == (random_brightness(0.5),)
    assert notes == (f"no {name}: the images are grey",)
    assert suited_to(offered, "cifar10", (32, 32, 3)) == (tuple(offered), ())


def test_the_jitter_of_gray_images_keeps_brightness_and_contrast():
    kept, notes = suited_to([colour_jitter(0.3, 0.2, 0.4, 0.1)], "mnist", (28, 28, 1))
    assert kept == (colour_jitter(0.3, 0.2, 0, 0),)
    assert "brightness and contrast only" in notes[0]
    assert suited_to(kept, "mnist", (28, 28, 1)) == (kept, ())


def test_sizes_in_pixels_fit_the_images():
    kept, notes = suited_to([cutout(16), random_resized_crop((224, 224))], "digits", (8, 8, 1))
    assert kept == (cutout(4), random_resized_crop())
    assert "size 4 instead of 16" in notes[0]
    assert "size (8, 8) instead of (224, 224)" in notes[1]
    fitting = (cutout(16), random_resized_crop((32, 40)), random_resized_crop())
    assert suited_to(fitting, "cifar10", (32, 40, 3)) == (fitting, ())
