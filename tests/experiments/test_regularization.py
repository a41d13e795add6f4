"""The members of the study of regularization, and what they share."""

from dataclasses import replace

import jax
import numpy as np
import pytest

from cnn_jax.data import DataConfig
from cnn_jax.errors import ConfigError
from cnn_jax.training import Result
from experiments import regularization
from experiments.regularization import Config, build, load, load_rotations, take_pretrained

DIGITS = Config(images=256, unlabelled=512, data=DataConfig(name="digits"))


def result(experiment, variables) -> Result:
    return Result(
        experiment,
        metrics=(),
        control=None,
        summary={},
        rows=[],
        variables=variables,
        outputs=lambda split: None,
    )


def fresh(experiment) -> dict:
    params, model_state = experiment.task.init(jax.random.key(0), experiment.dataset.spec)
    return {"params": params, **model_state}


def test_every_means_differs_from_none_in_itself_alone():
    study = build(DIGITS)
    none = study["none"]
    assert list(study)[:10] == ["none", "rotations", *regularization.MEANS]
    assert study["smaller"].task.model.widths == (4, 8) != none.task.model.widths
    assert (none.optimizer.l2, study["l2"].optimizer.l2) == (0.0, regularization.L2)
    assert study["dropout"].task.model.dropout > none.task.model.dropout == 0
    assert study["early-stopping"].control.stop_patience > none.control.stop_patience == 0
    assert (none.task.model.norm, study["batch-norm"].task.model.norm) == ("none", "batch")
    assert study["augmentation"].dataset.augment and not none.dataset.augment
    assert [name for name, one in study.items() if one.initialize] == ["pretraining", "together"]
    for name in ("early-stopping", "augmentation", "pretraining"):
        assert study[name].task == none.task
        assert study[name].optimizer == none.optimizer
    assert {one.training for name, one in study.items() if name in regularization.MEANS} == {
        none.training
    }


def test_batches_of_any_size_see_equally_many_examples_at_a_rate_in_proportion():
    study = build(replace(DIGITS, means=()))
    assert list(study)[1:3] == ["batch-2", "batch-2-batch-norm"] and len(study) == 9
    for size in DIGITS.batch_sizes:
        plain, normed = study[f"batch-{size}"], study[f"batch-{size}-batch-norm"]
        assert plain.training == normed.training
        assert (plain.training.batch_size, plain.training.duration) == (size, "20 epochs")
        assert plain.optimizer.learning_rate == pytest.approx(0.02 * size / 32)
        assert (plain.task.model.norm, normed.task.model.norm) == ("none", "batch")


def test_few_images_are_labelled_and_others_rotated():
    dataset, rotations = load(DIGITS), load_rotations(DIGITS)
    everything = load(replace(DIGITS, images=1200)).splits["train"].arrays["image"]
    np.testing.assert_array_equal(dataset.splits["train"].arrays["image"], everything[:256])
    assert dataset.splits["seen"] is dataset.splits["train"]
    assert "256 training images" in dataset.title
    split = rotations.splits["train"]
    assert len(split) == 512 and set(split.arrays["label"]) == {0, 1, 2, 3}
    pairs = zip(split.arrays["image"], split.arrays["label"], strict=True)
    upright = [np.rot90(image, -turns) for image, turns in pairs]
    np.testing.assert_array_equal(upright, everything[256:768])
    assert rotations.num_classes == 4


def test_pretrained_layers_are_taken_and_the_head_is_not():
    study = build(DIGITS)
    pretrained = jax.tree.map(np.ones_like, fresh(study["rotations"]))
    earlier = {"rotations": result(study["rotations"], pretrained)}
    start = fresh(study["pretraining"])
    taken = take_pretrained(start, earlier)
    assert jax.tree.structure(taken) == jax.tree.structure(start)
    for leaf in jax.tree.leaves(taken["params"]["body"]):
        np.testing.assert_array_equal(leaf, 1)
    np.testing.assert_array_equal(
        taken["params"]["head"]["kernel"], start["params"]["head"]["kernel"]
    )

    # Beside BatchNorm the layers have no biases; the norm stays as it was.
    start = fresh(study["together"])
    taken = take_pretrained(start, earlier)
    assert jax.tree.structure(taken) == jax.tree.structure(start)
    np.testing.assert_array_equal(taken["params"]["body"]["stage1_conv"]["kernel"], 1)
    np.testing.assert_array_equal(taken["params"]["body"]["stem_norm"]["bias"], 0)
    assert taken["batch_stats"] is start["batch_stats"]


def test_what_cannot_be():
    with pytest.raises(ConfigError, match="unknown means 'prayer'; there are smaller, l2"):
        build(replace(DIGITS, means=("prayer",)))
    with pytest.raises(ConfigError, match="expected more than the 5,000 labelled ones"):
        build(replace(DIGITS, images=5000))
    with pytest.raises(ConfigError, match="no train split in memory"):
        build(replace(DIGITS, data=DataConfig(name="digits", storage="stream")))
