"""What the smoke run cannot tell: which labels are taken, what a classifier starts from."""

from dataclasses import replace
from types import SimpleNamespace

import jax
import numpy as np
import pytest

from cnn_jax.data import ArraySplit, DataConfig, Dataset
from cnn_jax.errors import ConfigError
from cnn_jax.models.autoencoder import Autoencoder
from experiments import autoencoder
from experiments.autoencoder import SMOKE, Config, build, compare, load, with_labels

LABELS = np.array([0, 0, 0, 0, 1, 0, 2, 1, 0, 2, 0, 1], np.int32)


def dataset(labels: np.ndarray) -> Dataset:
    images = np.arange(len(labels), dtype=np.uint8)[:, None, None, None]
    train = ArraySplit({"image": np.broadcast_to(images, (len(labels), 2, 2, 1)), "label": labels})
    return Dataset("some", "some", {"train": train, "test": train}, ("a", "b", "c"))


@pytest.mark.parametrize(
    ("number", "positions"),
    [
        (3, [0, 4, 6]),
        (5, [0, 1, 4, 6, 7]),
        (6, [0, 1, 4, 6, 7, 9]),
        # There is no third example of class 2.
        (9, [0, 1, 2, 3, 4, 6, 7, 9, 11]),
        (12, list(range(12))),
    ],
)
def test_the_first_labels_of_each_class_are_taken(number, positions):
    subset = with_labels(dataset(LABELS), number)
    train = subset.splits["train"]
    assert train.arrays["image"][:, 0, 0, 0].tolist() == positions
    np.testing.assert_array_equal(train.arrays["label"], LABELS[positions])
    assert len(subset.splits["test"]) == len(LABELS)


def test_numbers_of_labels_are_cut_to_what_there_is():
    study = build(replace(SMOKE, labels=(10, 5000, 10000)))
    there = len(load(SMOKE.data).splits["train"])
    assert list(study) == [
        "code-8",
        "code-2",
        "conv-8",
        *(f"labels-{n}-{start}" for n in (10, there) for start in ("random", "encoder")),
    ]
    sizes = {name: len(one.dataset.splits["train"]) for name, one in study.items()}
    assert sizes["code-8"] == sizes[f"labels-{there}-random"] == there
    assert sizes["labels-10-random"] == sizes["labels-10-encoder"] == 10


def test_the_stand_in_gets_a_code_of_its_size(monkeypatch):
    digits = replace(load(SMOKE.data), stand_in=True)
    monkeypatch.setattr(autoencoder, "load", lambda config: digits)
    study = build(Config())
    assert list(study)[:3] == ["code-8", "code-2", "conv-8"]
    one = study["code-8"]
    assert one.training.duration == "150 epochs"
    assert "codes of 8 numbers instead of 30" in one.dataset.notes[-1]
    # A flag stands.
    assert "code-30" in build(replace(Config(), labels=(100,)))


def test_a_classifier_starts_as_the_encoder_of_the_large_code():
    study = build(SMOKE)
    spec = study["code-8"].dataset.spec
    trained = {
        name: SimpleNamespace(
            variables={"params": study[name].task.init(jax.random.key(1), spec)[0]}
        )
        for name in ("code-8", "code-2")
    }
    assert study["labels-100-random"].initialize is None
    classifier = study["labels-100-encoder"]
    fresh = {"params": classifier.task.init(jax.random.key(0), spec)[0]}
    started = classifier.initialize(fresh, trained)
    params = started["params"]
    images = np.random.default_rng(0).random((3, *spec["image"].shape), np.float32)
    features = classifier.task.model.apply(started, images, method="features")
    code = study["code-8"].task.model.apply(trained["code-8"].variables, images, method="encode")
    np.testing.assert_array_equal(features["code"], code)
    for ours, theirs in zip(
        jax.tree.leaves(params["head"]), jax.tree.leaves(fresh["params"]["head"]), strict=True
    ):
        np.testing.assert_array_equal(ours, theirs)


def test_pixels_stay_between_0_and_1():
    assert (load(SMOKE.data).mean, load(SMOKE.data).std) == ((0.0,), (1.0,))


def test_streamed_images_are_refused_with_the_way_out():
    with pytest.raises(ConfigError, match="is streamed: .* --data.storage device"):
        load(DataConfig(name="digits", storage="stream"))


def test_errors_in_the_figure_are_those_of_the_test_images():
    images = load(SMOKE.data).splits["test"].arrays["image"] / np.float32(255)
    study = {name: one for name, one in build(SMOKE).items() if name == "code-8"}
    model = study["code-8"].task.model
    assert isinstance(model, Autoencoder)
    result = SimpleNamespace(
        experiment=study["code-8"], held_out="test", outputs=lambda split: images + 0.5
    )
    bars = compare({"code-8": result})["errors"].axes[0]
    pca, autoencoder = (float(text.get_text()) for text in bars.texts)
    assert autoencoder == 0.25 * 64
    assert 0 < pca < np.square(images - images.mean(axis=0)).sum(axis=(1, 2, 3)).mean()
