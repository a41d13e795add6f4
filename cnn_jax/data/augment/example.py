"""What is augmented: one example with its image, boxes and mask, and a batch of them in one go.

Every augmentation is a small frozen value that can be called with a key and one example, so that
it can be read (and adapted to a data set, see `suited_to`) as well as applied. Randomness is per
example: the step derives one key for each from the step and the example's global index.
"""

from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Key, PRNGKeyArray, UInt32

Example = dict[str, Array]
"""One example, or in `augment_examples` a batch of them:

- "image": float [height, width, channels] in [0, 1];
- "boxes", where there are any: float [n, 4], each (x0, y0, x1, y1) in pixels. A box that left the
  image is (0, 0, 0, 0), and stays so;
- "mask", where there is one: integers [height, width], the class of every pixel, `IGNORED` where
  the image shows nothing.

Other entries, such as a label, are passed on as they are.
"""

Augment = Callable[[PRNGKeyArray, Example], Example]

IGNORED = 255
"""The class of a mask's pixels that lie outside of the original image."""


def augment_examples(
    augment: Sequence[Augment],
    keys: Key[Array, "batch"] | UInt32[Array, "batch 2"],
    examples: Example,
) -> Example:
    """Applies every augmentation in turn to every example, with one key an example.

    What happens to an example depends on its own key and values alone, never on its neighbours in
    the batch or on how the batch is spread over devices.

    Args:
        augment: the augmentations, the first one first.
        keys: one for each example.
        examples: arrays as in `Example`, each with the batch as its first axis.
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
    """`augment_examples` for images that have neither boxes nor masks."""
    return augment_examples(augment, keys, {"image": images})["image"]


def normalize(
    images: Float[Array, "batch height width channels"],
    mean: Sequence[float],
    std: Sequence[float],
) -> Float[Array, "batch height width channels"]:
    """(images - mean) / std per channel; images are in [0, 1] and so are mean and std."""
    shape = (1, 1, 1, images.shape[-1])
    offset = jnp.asarray(mean, images.dtype).reshape(shape)
    scale = jnp.asarray(std, images.dtype).reshape(shape)
    return (images - offset) / scale
