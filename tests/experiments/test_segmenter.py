"""What the experiments on segmentation share: data, loss and figures."""

from dataclasses import replace

import jax
import numpy as np
import pytest

from cnn_jax import pretrained
from cnn_jax.data import IGNORED, DataConfig, from_arrays, random_flip, random_resized_crop
from cnn_jax.errors import ConfigError
from cnn_jax.models import create_model
from cnn_jax.pretrained import Network, Preprocessing
from cnn_jax.tasks import median_frequency_weights
from cnn_jax.training import read_metrics
from cnn_jax.visual import SegmentedImage
from experiments import fcn, segnet, unet
from experiments.tools.segmentation_figures import _part, border_pixels
from experiments.tools.segmenter import (
    SMOKE_DATA,
    PixelAugmentConfig,
    PixelLossConfig,
    load_masks,
    segmentation,
)


def arrays(count=12, size=16, seed=0):
    """Images whose brightness says the class of each pixel; a border is ignored."""
    masks = np.random.default_rng(seed).integers(0, 3, (count, size, size)).astype(np.uint8)
    images = np.repeat((masks * 100)[..., None], 3, axis=-1)
    masks[:, 0] = IGNORED
    return {"image": images, "mask": masks}


def test_weights_by_median_frequency():
    dataset = from_arrays({"train": arrays()}, class_names=("a", "b", "c"), validation="none")
    model = create_model("unet_bn", widths=(2, 4), num_classes=3)
    task = segmentation(model, PixelLossConfig(class_weights=("median",)), dataset)
    masks = dataset.splits["train"].arrays["mask"]
    assert task.class_weights == median_frequency_weights(masks, 3, ignore_index=IGNORED)
    assert task.class_names == ("a", "b", "c")
    given = segmentation(model, PixelLossConfig(class_weights=("1", "2", "0.5")), dataset)
    assert given.class_weights == (1.0, 2.0, 0.5)
    for wrong in (("1", "2"), ("large",)):
        with pytest.raises(ConfigError, match="must be median, or 3 numbers, one for each class"):
            segmentation(model, PixelLossConfig(class_weights=wrong), dataset)


def test_a_data_set_without_masks_names_one_that_has_them():
    config = replace(
        unet.SMOKE, data=DataConfig(name="digits"), loss=PixelLossConfig(class_weights=("median",))
    )
    with pytest.raises(ConfigError, match="has no masks, only image, label: name a data set"):
        unet.build(config)


def test_the_augmentations_of_the_flags():
    dataset = load_masks(SMOKE_DATA, PixelAugmentConfig())
    flip, crop, _ = dataset.augment
    assert flip == random_flip()
    assert crop == random_resized_crop(scale=(0.25, 1.0), ratio=(3 / 4, 4 / 3))
    none = PixelAugmentConfig(flip=False, least_area=1.0, colour=0.0)
    assert load_masks(SMOKE_DATA, none).augment == ()
    turned = load_masks(SMOKE_DATA, replace(none, rotate=180.0)).augment
    assert [one.degrees for one in turned] == [180.0]


@pytest.mark.parametrize(
    ("module", "recipe"), [(m, r) for m in (unet, segnet) for r in sorted(m.RECIPES)]
)
def test_recipes_make_networks_of_the_published_widths(module, recipe):
    built = module.build(replace(module.RECIPES[recipe], data=SMOKE_DATA))
    for one in built.values() if isinstance(built, dict) else [built]:
        widths = one.task.model.widths
        assert widths[0] == (64 if recipe == "paper" else 16)
        assert max(widths) == widths[0] * (8 if module is segnet else 16)


def test_a_run_on_a_file_of_arrays(start, tmp_path):
    train, held = arrays(24), arrays(8, seed=1)
    np.savez(
        tmp_path / "streets.npz",
        train_images=train["image"],
        train_masks=train["mask"],
        validation_images=held["image"],
        validation_masks=held["mask"],
        class_names=["a", "b", "c"],
    )
    network = ("--width", "4", "--levels", "1", "--name", "one")
    plain = ("--augment.colour", "0", "--augment.least-area", "1")
    rate = ("--training.batch-size", "8", "--optimizer.learning-rate", "0.05")
    data = ("--data.name", str(tmp_path / "streets.npz"), "--training.duration", "12 epochs")
    start("unet", *data, *network, *plain, *rate, "--training.evaluate-every", "4 epochs")
    rows = read_metrics(tmp_path / "unet" / "one" / "metrics.csv")
    found = [row for row in rows if row["split"] == "validation"]
    # The classes can be read off the pixels.
    assert found[-1]["mean_iou"] > 0.9 and found[-1]["iou/c"] > 0.9
    figures = {path.stem for path in (tmp_path / "unet" / "one" / "figures").iterdir()}
    assert figures == {"curves", "segmentations", "classes", "confusion"}


@pytest.mark.parametrize("encoder", ["vgg11", "resnet18"])
def test_fcn_begins_with_the_weights_of_a_classifier(encoder, monkeypatch):
    size = {"vgg11": (224, 224)}.get(encoder, (32, 32))
    model = create_model(encoder, num_classes=5)
    shapes = jax.eval_shape(model.init, jax.random.key(0), np.zeros((1, *size, 3), np.float32))
    known = jax.tree.map(lambda one: np.full(one.shape, 0.5, one.dtype), shapes)
    source = Network(model, known, Preprocessing(32, 32), (), "")
    monkeypatch.setattr(pretrained, "load", lambda name, weights: source)
    hidden = (4096, 4096) if encoder == "vgg11" else ()
    config = replace(fcn.SMOKE, encoder=encoder, weights="default", hidden=hidden)
    experiment = fcn.build(config)["fcn16s"]
    spec = experiment.dataset.spec
    params, state = jax.eval_shape(lambda key: experiment.task.init(key, spec), jax.random.key(0))
    fresh = {"params": params, **state}
    changed = experiment.initialize(fresh, {})
    assert jax.tree.structure(changed) == jax.tree.structure(fresh)
    assert jax.tree.map(np.shape, changed) == jax.tree.map(np.shape, fresh)
    backbone = changed["params"]["backbone"]["body"]
    assert all(np.all(leaf == 0.5) for leaf in jax.tree.leaves(backbone))
    if encoder == "vgg11":
        assert np.all(changed["params"]["head"]["fc6"]["kernel"] == 0.5)


def test_border_pixels():
    mask = np.array([[0, 0, 1], [0, 0, 1], [IGNORED, 2, 1]])
    expected = [[False, True, True], [False, True, True], [False, True, True]]
    assert border_pixels(mask).tolist() == expected
    assert not border_pixels(np.zeros((1, 1), int)).any()


def test_the_part_with_most_borders():
    mask = np.zeros((30, 60), np.uint8)
    mask[20:30:2, 40:60] = 1
    image = np.zeros((30, 60, 3), np.uint8)
    part = _part(SegmentedImage(image, mask, {"net": mask}))
    assert part.truth.shape == part.predictions["net"].shape == (10, 20)
    assert np.array_equal(part.truth, mask[19:29, 40:])
