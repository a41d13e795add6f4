"""Examples, and augmentations of them.

An augmentation is a small frozen dataclass that is called with a key and one example. Its fields
can be read and adapted to a data set, see `suited_to`. Each example has its own key, which the
step derives from the step number and the example's slot in the global batch.
"""

from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Key, PRNGKeyArray, UInt32

Example = dict[str, Array]
"""One example, or in `augment_examples` a batch of them. These entries have a place in the image:

- "image": float [height, width, channels] in [0, 1];
- "mask": integers [height, width], the class of every pixel, `IGNORED` outside of the original
  image;
- "boxes": float [n, 4], each (x0, y0, x1, y1) in pixels, zeros for padding. A box that has left the
  image is (0, 0, 0, 0), and stays so;
- "box_labels": integers [n], the class of every box, -1 for padding and for boxes that have left;
- "crowd_labels": integers [n], the class of a box that need not be found, whose label is then -1:
  a region of several objects (COCO) or a difficult object (VOC); -1 for all others;
- "areas": float [n], the pixels of the object of each box (COCO), by which metrics tell its size; a
  move keeps their share of the box;
- "instances": integers [height, width], k + 1 for the pixels of the object in row k of the boxes,
  0 for the background and outside of the original image;
- "pixel_weight": float [height, width], the weight of every pixel in a loss, 0 outside of the
  original image;
- "size": integers [2], height and width of an image at the upper left of a canvas, and after a
  move those of the part that it reaches into.

Spatial augmentations move all of them. Entries without a place in the image, such as a label, are
passed on unchanged.
"""

PLACED = frozenset(
    {
        *("image", "mask", "instances", "pixel_weight", "size"),
        *("boxes", "box_labels", "crowd_labels", "areas"),
    }
)
"""The entries that have a place in the image."""

UNPLACED = frozenset({"label", "tokens"})
"""The entries that have no place in the image."""

Augment = Callable[[PRNGKeyArray, Example], Example]

IGNORED = 255
"""The class of a mask's pixels that are outside of the original image."""

OUTSIDE = {"mask": IGNORED, "instances": 0, "pixel_weight": 0}
"""The entries with one value for each pixel, and their value outside of the original image."""


def augment_examples(
    augment: Sequence[Augment],
    keys: Key[Array, "batch"] | UInt32[Array, "batch 2"],
    examples: Example,
) -> Example:
    """Applies the augmentations in turn to every example, with one key per example.

    The result for an example depends on its own key and values only, not on the other examples of
    the batch or on how the batch is spread over devices.

    Args:
        augment: the augmentations, in the order of application.
        keys: one key per example.
        examples: arrays as in `Example`, with a leading batch axis.
    """
    for number, one in enumerate(augment):
        stage_keys = jax.vmap(jax.random.fold_in, in_axes=(0, None))(keys, number)
        examples = jax.vmap(one)(stage_keys, examples)
    return examples


def apply_augment(
    augment: Sequence[Augment],
    keys: Key[Array, "batch"] | UInt32[Array, "batch 2"],
    images: Float[Array, "batch height width channels"],
) -> Float[Array, "batch new_height new_width channels"]:
    """`augment_examples` for images without any other entry."""
    return augment_examples(augment, keys, {"image": images})["image"]


def normalize(
    images: Float[Array, "batch height width channels"],
    mean: Sequence[float],
    std: Sequence[float],
) -> Float[Array, "batch height width channels"]:
    """(images - mean) / std per channel, for images in [0, 1]."""
    shape = (1, 1, 1, images.shape[-1])
    offset = jnp.asarray(mean, images.dtype).reshape(shape)
    scale = jnp.asarray(std, images.dtype).reshape(shape)
    return (images - offset) / scale
