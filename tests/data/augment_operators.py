"""Augmentations once their random numbers are drawn, ours and torchvision's, for one example."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from cnn_jax.data.augment import IGNORED, colour, geometry
from tests.references.torchvision_models import import_torchvision

SIZES = ((4, 7), (9, 6), (5, 5))
"""Few, as our side compiles for each."""


@dataclass(frozen=True)
class Operator:
    """One of our functions and torchvision's.

    Attributes:
        name: unique in the table.
        sample: a random example (float64 numpy arrays) and settings, of a `numpy` generator.
        ours: `ours(example, **settings)` gives the changed example.
        torch: the same of PyTorch's tensors, in our layout.
        tolerance: of float64, where torchvision computes in float32.
    """

    name: str
    sample: Callable
    ours: Callable
    torch: Callable
    tolerance: float = 1e-8


def functional(version=1):
    """torchvision's functions of tensors; those of version 2 move boxes too."""
    transforms = import_torchvision().transforms
    if version == 1:
        return transforms.functional
    from torchvision.transforms.v2 import functional

    return functional


def channels_first(x):
    return x.movedim(-1, 0)


def channels_last(x):
    return x.movedim(0, -1)


def image(generator, channels=3):
    return generator.random((*SIZES[generator.integers(len(SIZES))], channels))


def example(generator):
    """An image with three boxes, none of them empty, and a mask of three classes."""
    pixels = image(generator)
    height, width, _ = pixels.shape
    first = generator.random((3, 2)) * 0.6
    last = first + 0.1 + generator.random((3, 2)) * 0.3
    boxes = np.concatenate([first, last], axis=1) * np.array([width, height] * 2)
    return {"image": pixels, "mask": generator.integers(3, size=(height, width)), "boxes": boxes}


# The image alone.


def photometric(name, sample_settings, change, torch_change, **options):
    """The operator on an image, with one channel in a third of all cases."""

    def sample(generator):
        pixels = image(generator, channels=int(generator.choice((1, 3, 3))))
        return {"image": pixels}, sample_settings(generator, *pixels.shape[:2])

    def ours(example, **settings):
        return {"image": change(example["image"], **settings)}

    def torch(example, **settings):
        x = channels_first(example["image"])
        return {"image": channels_last(torch_change(x, **settings))}

    return Operator(name, sample, ours, torch, **options)


def sample_factor(generator, height, width):
    return {"factor": float(generator.choice((0, 1, 2.5 * generator.random())))}


def sample_turns(generator, height, width):
    return {"turns": float(generator.uniform(-0.5, 0.5))}


def sample_square(generator, height, width):
    size = int(generator.integers(1, 6))
    top = int(generator.integers(1 - size, height))
    left = int(generator.integers(1 - size, width))
    return {"top": top, "left": left, "size": size, "fill": float(generator.random())}


def torch_brightness(x, factor):
    return functional().adjust_brightness(x, factor)


def torch_contrast(x, factor):
    return functional().adjust_contrast(x, factor)


def torch_saturation(x, factor):
    return functional().adjust_saturation(x, factor)


def torch_hue(x, turns):
    return functional().adjust_hue(x, turns)


def torch_fill_square(x, top, left, size, fill):
    import torch

    first = max(top, 0), max(left, 0)
    last = min(top + size, x.shape[-2]), min(left + size, x.shape[-1])
    value = torch.tensor(fill, dtype=x.dtype)
    return functional().erase(x, *first, last[0] - first[0], last[1] - first[1], value)


# Image, mask and boxes. torchvision has one function for images and masks (`nearest`) and one for
# boxes.


def geometric(name, sample_settings, change, torch_pixels, torch_boxes, **options):
    """The operator on a whole example."""

    def sample(generator):
        inputs = example(generator)
        return inputs, sample_settings(generator, *inputs["image"].shape[:2])

    def ours(example, **settings):
        return change(example, **settings)

    def torch(example, **settings):
        functional()  # before torchvision is imported by its name
        from torchvision.tv_tensors import BoundingBoxFormat

        image, mask, boxes = example["image"], example["mask"], example["boxes"]
        canvas = tuple(image.shape[:2])
        boxes = torch_boxes(boxes, BoundingBoxFormat.XYXY, canvas, **settings)
        # A box that has left is all zeros with us, and a line at the border with torchvision.
        kept = (boxes[:, 2] > boxes[:, 0]) & (boxes[:, 3] > boxes[:, 1])
        return {
            "image": channels_last(torch_pixels(channels_first(image), False, **settings)),
            "mask": torch_pixels(mask[None], True, **settings)[0],
            "boxes": boxes * kept[:, None],
        }

    return Operator(name, sample, ours, torch, **options)


def sample_rotation(generator, height, width):
    return {"degrees": float(generator.uniform(-180, 180))}


def sample_translation(generator, height, width):
    right, down = generator.integers(-3, 4, size=2)
    return {"right": int(right), "down": int(down)}


def sample_zoom(generator, height, width):
    return {"factor": float(generator.uniform(0.4, 2.5))}


def sample_flip(generator, height, width):
    return {}


def sample_part(generator, height, width):
    part_height, part_width = generator.integers(1, (height + 1, width + 1))
    top, left = generator.integers(0, (height - part_height + 1, width - part_width + 1))
    size = ((5, 8), (12, 3))[generator.integers(2)]
    part = {"top": top, "left": left, "height": part_height, "width": part_width}
    return {name: int(value) for name, value in part.items()} | {"size": size}


def sample_resized(generator, height, width):
    size = ((5, 8), (12, 3))[generator.integers(2)]
    # PyTorch 2.13 resizes the rows of an image of one column to other values than those of more.
    new_height, new_width = generator.integers(2, (2 * height + 1, 2 * width + 1))
    top = generator.integers(0, max(new_height - size[0], 0) + 1)
    left = generator.integers(0, max(new_width - size[1], 0) + 1)
    place = {"height": new_height, "width": new_width, "top": top, "left": left}
    return {name: int(value) for name, value in place.items()} | {"size": size}


def torch_rotate(x, nearest, degrees):
    mode, fill = ("nearest", [IGNORED]) if nearest else ("bilinear", None)
    return functional().rotate(x, degrees, interpolation(mode), fill=fill)


def torch_affine(x, nearest, right=0, down=0, factor=1.0):
    mode, fill = ("nearest", [IGNORED]) if nearest else ("bilinear", None)
    return functional().affine(
        x, 0.0, [right, down], factor, [0.0, 0.0], interpolation(mode), fill=fill
    )


def torch_flip(x, nearest):
    return functional().hflip(x)


def torch_crop_and_resize(x, nearest, top, left, height, width, size):
    mode = interpolation("nearest-exact" if nearest else "bilinear")
    return functional().resized_crop(x, top, left, height, width, size, mode)


def torch_resize_and_crop(x, nearest, height, width, top, left, size):
    mode = interpolation("nearest-exact" if nearest else "bilinear")
    resized = functional().resize(x, [height, width], mode, antialias=not nearest)
    sides = [0, 0, max(left + size[1] - width, 0), max(top + size[0] - height, 0)]
    padded = functional().pad(resized, sides, fill=IGNORED if nearest else 0)
    return functional().crop(padded, top, left, *size)


def torch_rotate_boxes(x, format, canvas, degrees):
    return functional(2).rotate_bounding_boxes(x, format, canvas, degrees)[0]


def torch_affine_boxes(x, format, canvas, right=0, down=0, factor=1.0):
    return functional(2).affine_bounding_boxes(
        x, format, canvas, 0.0, [right, down], factor, [0.0, 0.0]
    )


def torch_flip_boxes(x, format, canvas):
    return functional(2).horizontal_flip_bounding_boxes(x, format, canvas)


def torch_crop_and_resize_boxes(x, format, canvas, top, left, height, width, size):
    size = list(size)
    return functional(2).resized_crop_bounding_boxes(x, format, top, left, height, width, size)[0]


def torch_resize_and_crop_boxes(x, format, canvas, height, width, top, left, size):
    resized, _ = functional(2).resize_bounding_boxes(x, canvas, [height, width])
    return functional(2).crop_bounding_boxes(resized, format, top, left, *size)[0]


# The deformation without boxes, which torchvision moves as if displacements were the same nearby.


def sample_deformation(generator):
    inputs = example(generator)
    del inputs["boxes"]
    return inputs, {"vectors": generator.normal(scale=2.0, size=(3, 3, 2))}


def ours_deform(example, **settings):
    return geometry.deform(example, **settings)


def torch_deform(example, vectors):
    import torch

    height, width, _ = example["image"].shape
    right, down = torch.nn.functional.interpolate(
        channels_first(torch.tensor(vectors))[None], (height, width), mode="bicubic", antialias=True
    )[0]
    # In halves of the image's size.
    share = torch.stack([right * 2 / width, down * 2 / height], dim=-1)[None]
    image, mask = channels_first(example["image"]), example["mask"][None]
    bilinear, nearest = interpolation("bilinear"), interpolation("nearest")
    move = functional().elastic_transform
    return {
        "image": channels_last(move(image, share, bilinear, None)),
        "mask": move(mask, share, nearest, [IGNORED])[0],
    }


def interpolation(name):
    from torchvision.transforms import InterpolationMode

    return InterpolationMode(name)


OPERATORS = (
    photometric("adjust_brightness", sample_factor, colour.adjust_brightness, torch_brightness),
    photometric("adjust_contrast", sample_factor, colour.adjust_contrast, torch_contrast),
    photometric("adjust_saturation", sample_factor, colour.adjust_saturation, torch_saturation),
    # torchvision converts the image to float32 first.
    photometric("adjust_hue", sample_turns, colour.adjust_hue, torch_hue, tolerance=1e-5),
    photometric("fill_square", sample_square, colour.fill_square, torch_fill_square),
    geometric("rotate", sample_rotation, geometry.rotate, torch_rotate, torch_rotate_boxes),
    geometric(
        "translate", sample_translation, geometry.translate, torch_affine, torch_affine_boxes
    ),
    geometric("zoom", sample_zoom, geometry.zoom, torch_affine, torch_affine_boxes),
    geometric("flip", sample_flip, geometry.flip, torch_flip, torch_flip_boxes),
    geometric(
        "crop_and_resize",
        sample_part,
        geometry.crop_and_resize,
        torch_crop_and_resize,
        torch_crop_and_resize_boxes,
        tolerance=1e-7,  # torchvision holds the boxes' ratios in float32
    ),
    geometric(
        "resize_and_crop",
        sample_resized,
        geometry.resize_and_crop,
        torch_resize_and_crop,
        torch_resize_and_crop_boxes,
        tolerance=1e-7,  # as above
    ),
    # torchvision computes the places in float32.
    Operator("deform", sample_deformation, ours_deform, torch_deform, tolerance=1e-6),
)
