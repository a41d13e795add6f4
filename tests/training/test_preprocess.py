from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from cnn_jax.data import (
    IGNORED,
    ArraySplit,
    DataConfig,
    Dataset,
    WindowSplit,
    apply_augment,
    colour_jitter,
    cutmix,
    cutout,
    load_dataset,
    mixup,
    normalize,
    random_crop,
    random_flip,
)
from cnn_jax.errors import ConfigError
from cnn_jax.training.preprocess import make_preprocess
from tests.tolerance import assert_close

N = 16
RNG = np.random.default_rng(0)
IMAGES = RNG.integers(0, 256, (N, 8, 8, 3), np.uint8)
LABELS = np.arange(N, dtype=np.int32) % 4


def dataset(augment=(), mix=None, **entries):
    split = ArraySplit({"image": IMAGES, "label": LABELS, **entries})
    statistics = {"mean": (0.4, 0.5, 0.6), "std": (0.2, 0.3, 0.4)}
    classes = ("a", "b", "c", "d")
    return Dataset(
        "noise", "noise", {"train": split}, classes, augment=augment, mix=mix, **statistics
    )


def batch_of(data):
    arrays = {name: jnp.asarray(array) for name, array in data.splits["train"].arrays.items()}
    return arrays | {"slot": jnp.arange(len(data.splits["train"])), "weight": jnp.ones(N)}


def test_images_are_scaled_augmented_and_normalized_with_a_key_per_slot():
    data = dataset((random_crop(2), random_flip()))
    key = jax.random.key(3)
    batch = jax.jit(make_preprocess(data), static_argnums=2)(batch_of(data), key, True)
    keys = jax.vmap(jax.random.fold_in, in_axes=(None, 0))(key, jnp.arange(N))

    @jax.jit
    def by_hand(images):
        images = apply_augment(data.augment, keys, images.astype(jnp.float32) / 255.0)
        return normalize(images, data.mean, data.std)

    expected = by_hand(IMAGES)
    assert_close(batch["image"], expected, rtol=1e-6)
    assert batch["label"].tolist() == LABELS.tolist()
    evaluated = make_preprocess(data)(batch_of(data), key, False)["image"]
    unchanged = normalize(jnp.asarray(IMAGES) / 255.0, data.mean, data.std)
    assert_close(evaluated, unchanged, rtol=1e-6)


def test_a_batch_without_bytes_is_passed_on():
    windows = WindowSplit(np.arange(40), 4)
    data = Dataset("text", "text", {"train": windows}, (), augment=(random_flip(),))
    batch = {"tokens": jnp.zeros((2, 4), jnp.int32)}
    assert make_preprocess(data)(batch, jax.random.key(0), True) is batch
    points = {"image": jnp.zeros((2, 3)), "label": jnp.zeros((2, 1))}
    assert make_preprocess(dataset())(points, jax.random.key(0), True) is points


def test_the_mask_goes_with_its_image():
    # The mask can be read off the image: its class is the pixel's first channel.
    classes = RNG.integers(1, 9, (N, 8, 8), np.uint8)
    images = np.stack([classes] * 3, axis=-1)
    data = replace(
        dataset((random_crop(3), random_flip())),
        splits={"train": ArraySplit({"image": images, "mask": classes})},
        mean=(0.0,) * 3,
        std=(1.0,) * 3,
    )
    batch = jax.jit(make_preprocess(data), static_argnums=2)(
        batch_of(data), jax.random.key(1), True
    )
    shown = np.round(np.asarray(batch["image"])[..., 0] * 255)
    mask = np.asarray(batch["mask"])
    assert np.array_equal(np.where(mask == IGNORED, 0, mask), shown)
    assert np.any(mask == IGNORED) and np.any(mask[:, ::-1] != mask)


@pytest.mark.parametrize("mix", [mixup(), cutmix()], ids=repr)
def test_pairs_of_the_global_batch_are_mixed_however_it_is_spread(mix):
    data = dataset((random_flip(),), mix)
    preprocess, key = make_preprocess(data), jax.random.key(2)
    batch = batch_of(data)
    whole = jax.jit(lambda batch: preprocess(batch, key, True))(batch)
    assert whole["label"].shape == (N, 4)
    assert_close(whole["label"].sum(axis=1), np.ones(N), rtol=1e-6)
    parts = jax.tree.map(lambda a: a.reshape(8, N // 8, *a.shape[1:]), batch)
    mapped = jax.pmap(lambda batch: preprocess(batch, key, True), axis_name="devices")(parts)
    joined = jax.tree.map(lambda a: np.asarray(a).reshape(N, *a.shape[2:]), mapped)
    assert_close(joined, jax.tree.map(np.asarray, whole), rtol=1e-6, atol=1e-6)


def test_an_entry_that_would_be_left_behind_is_refused():
    depth = {"depth": np.zeros((N, 8, 8), np.float32)}
    message = (
        r"RandomFlip\(\) would move the image of noise without its depth: remove the aug.*mask"
    )
    with pytest.raises(ConfigError, match=message):
        make_preprocess(dataset((random_flip(), cutout(2)), **depth))
    with pytest.raises(ConfigError, match="without its depth"):
        make_preprocess(dataset((lambda key, example: example,), **depth))
    # What changes the image only leaves nothing behind.
    make_preprocess(dataset((cutout(2), colour_jitter()), **depth))
    make_preprocess(dataset((random_flip(),), size=np.ones((N, 2), np.int32)))


def test_masks_boxes_and_instances_are_not_mixed():
    config = DataConfig(name="shapes", train="train[:4]", validation="none", test="none")
    scenes = load_dataset(config, default="shapes", augment=[random_flip()])
    make_preprocess(scenes)
    with pytest.raises(ConfigError, match="not its box_labels, boxes, instances, mask: remove"):
        make_preprocess(replace(scenes, mix=mixup()))
