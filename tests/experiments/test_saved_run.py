import json
import shutil
from dataclasses import replace
from pathlib import Path

import jax
import numpy as np
import pytest

from cnn_jax.training import OptimizerConfig, TrainingConfig, train
from experiments import autoencoder, linear_features
from experiments.tools.run_directory import RunDirectoryError, claim, identity
from experiments.tools.saved_run import RunPreprocessing, load_run
from tests.training.small import one_device


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A run of three steps with a moving average: its directory and its result."""
    directory = tmp_path_factory.mktemp("runs") / "run"
    config = replace(
        linear_features.SMOKE,
        training=TrainingConfig(duration="3 steps", batch_size=64, ema_decay=0.5),
    )
    claim(directory, identity("linear_features", config, 3, {"name": "digits", "title": "digits"}))
    experiment = linear_features.build(config)
    return directory, train(experiment, directory, one_device(), seed=3, title="run")


@pytest.fixture
def copied(trained, tmp_path):
    return Path(shutil.copytree(trained[0], tmp_path / "copy"))


def test_a_run_comes_back_to_the_bit(trained):
    directory, result = trained
    network = load_run(directory)
    jax.tree.map(np.testing.assert_array_equal, network.variables, result.variables)
    assert network.class_names == tuple("0123456789")
    assert network.title == "linear_features/run, handwritten digits 8x8, 3 steps"
    dataset = result.experiment.dataset
    image = dataset.splits["test"][0]["image"]
    inputs = network.preprocessing(np.repeat(image, 3, axis=-1))
    assert inputs.shape == dataset.image_shape
    logits = network.model.apply(network.variables, inputs[None])
    np.testing.assert_allclose(logits[0], result.outputs("test")[0], rtol=1e-4, atol=1e-4)


def test_a_member_of_a_study_is_named(tmp_path):
    config = replace(
        autoencoder.SMOKE,
        convolutional=False,
        training=TrainingConfig(duration="1 step"),
        classifier_training=TrainingConfig(duration="1 step", batch_size=64),
        classifier_optimizer=OptimizerConfig(),
        optimizer=OptimizerConfig(),
    )
    study, results = autoencoder.build(config), {}
    data = {"name": "digits", "title": "digits"}
    claim(tmp_path, identity("autoencoder", config, 0, data))
    for name in ("code-8", "labels-100-encoder"):
        results[name] = train(
            study[name], tmp_path / name, one_device(), seed=0, title=name, earlier=results
        )
    with pytest.raises(RunDirectoryError, match="several networks; give one.*labels-100-encoder"):
        load_run(tmp_path)
    # Its start was taken from an earlier member, which need not be there any more.
    shutil.rmtree(tmp_path / "code-8" / "checkpoints")
    network = load_run(tmp_path / "labels-100-encoder")
    expected = results["labels-100-encoder"].variables
    jax.tree.map(np.testing.assert_array_equal, network.variables, expected)
    assert network.preprocessing.mean == (0.0,)
    with pytest.raises(RunDirectoryError, match="code-8 has saved nothing yet"):
        load_run(tmp_path / "code-8")


def test_what_is_no_run_is_said(trained, tmp_path):
    directory, _ = trained
    with pytest.raises(RunDirectoryError, match="no run in .*nowhere: config.json is missing$"):
        load_run(tmp_path / "nowhere")
    with pytest.raises(RunDirectoryError, match=r"missing; there are run in it"):
        load_run(directory.parent)
    with pytest.raises(RunDirectoryError, match="has no 'checkpoints'"):
        load_run(directory / "checkpoints")


def test_nothing_saved_yet(copied):
    for step in (copied / "checkpoints").iterdir():
        shutil.rmtree(step)
    with pytest.raises(RunDirectoryError, match="saved nothing yet: .*is empty"):
        load_run(copied)
    (copied / "checkpoints").rmdir()
    with pytest.raises(RunDirectoryError, match="saved nothing yet: .*is missing"):
        load_run(copied)
    assert not (copied / "checkpoints").exists()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"experiment": "gone"}, "run of 'gone', and there is no such experiment"),
        ({"experiment": "mlp_regression"}, "is not of this experiment"),
        ({"sweep": [0.1, 0.2]}, "a sweep over learning rates"),
        ({"data": {"name": "cifar10", "title": "CIFAR-10"}}, "on CIFAR-10, which is not at hand"),
    ],
)
def test_a_run_of_another_kind_is_refused(copied, change, message):
    saved = json.loads((copied / "config.json").read_text())
    (copied / "config.json").write_text(json.dumps(saved | change))
    with pytest.raises(RunDirectoryError, match=message):
        load_run(copied)


def test_data_that_are_not_at_hand_are_named(copied):
    saved = json.loads((copied / "config.json").read_text())
    saved["config"]["data"]["name"] = str(copied / "moved away")
    saved["data"] = {"name": "x", "title": "photographs"}
    (copied / "config.json").write_text(json.dumps(saved))
    with pytest.raises(RunDirectoryError, match="on photographs, .* here: there is no folder"):
        load_run(copied)


@pytest.mark.parametrize(("height", "width"), [(20, 30), (31, 9), (8, 8), (3, 5)])
def test_images_are_cut_as_in_training(height, width):
    image = np.full((height, width, 3), (10, 20, 30), np.uint8)
    colour = RunPreprocessing((8, 8, 3), (0.1, 0.2, 0.3), (0.5, 1.0, 2.0))
    assert np.all(colour.resize_and_crop(image) == (10, 20, 30))
    expected = (np.array([10, 20, 30]) / 255 - colour.mean) / colour.std
    np.testing.assert_allclose(colour(image), np.broadcast_to(expected, (8, 8, 3)), rtol=1e-5)
    wide = RunPreprocessing((4, 12, 1), (0.0,), (1.0,))
    assert wide.resize_and_crop(image).shape == (4, 12, 1)
    assert np.ptp(wide(image)) == 0


def test_a_resized_shorter_side_shows_the_middle():
    image = np.zeros((32, 32, 3), np.uint8)
    image[8:24, 8:24] = 255
    zoomed = RunPreprocessing((8, 8, 3), (0.0,) * 3, (1.0,) * 3, resize=16)
    assert zoomed.resize_and_crop(image).min() > 190
    whole = RunPreprocessing((8, 8, 3), (0.0,) * 3, (1.0,) * 3)
    assert whole.resize_and_crop(image).min() == 0
