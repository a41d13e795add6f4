"""The scores of generated images: of a run, and of folders."""

import csv
import json
from dataclasses import replace

import jax
import numpy as np
import pytest
from PIL import Image

from cnn_jax.data import DataConfig
from cnn_jax.errors import ConfigError, UserError
from cnn_jax.models import create_model, example_shape
from cnn_jax.pretrained import Network, from_torch
from experiments import dcgan
from experiments.tools import fid
from tests.experiments.small_run import make_run, save_run
from tests.pretrained.parity import drawn_state
from tests.references import fidelity
from tests.references.records import HERE
from tests.references.weights import digest
from tests.tolerance import assert_close


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A pair for digits with random weights, as its classifier has."""
    directory = tmp_path_factory.mktemp("runs") / "dcgan" / "one"
    save_run(directory, "dcgan", dcgan.SMOKE, dcgan.build(dcgan.SMOKE)["gan"])
    return directory


def cheap(images):
    """Features and probabilities in place of Inception v3's."""
    assert all(image.dtype == np.uint8 for image in images)
    means = np.stack([image.mean(axis=(0, 1)).mean() for image in images])
    features = np.stack([means, np.stack([np.std(image) for image in images])], axis=1)
    probabilities = np.stack([means / 255, 1 - means / 255], axis=1)
    return {"features": features, "probabilities": probabilities}


def shown(capsys):
    captured = capsys.readouterr()
    return " ".join((captured.out + captured.err).split())


def failure(capsys, *words):
    with pytest.raises(SystemExit) as exit:
        fid.main(list(words))
    assert exit.value.code == 2
    return shown(capsys)


def test_samples_and_training_images_are_compared_with_held_out_ones(
    run, tmp_path, capsys, monkeypatch
):
    monkeypatch.setattr(fid, "public_measure", lambda: cheap)
    words = ["--run", str(run), "--samples", "30", "--output", str(tmp_path / "out")]
    samples, training = fid.main(words)
    assert (samples["images"], training["images"]) == ("samples", "training images")
    assert samples["number"] == training["number"] == 30
    # Digits are much more like digits than the images of an untrained generator are.
    assert 0 <= training["fid"] < 0.1 * samples["fid"]
    assert training["precision"] > samples["precision"]
    text = shown(capsys)
    assert "from 30 test images" in text
    assert "FID grows with fewer images; published ones are of 10,000 or more" in text
    with (tmp_path / "out" / "scores.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [float(row["fid"]) for row in rows] == [samples["fid"], training["fid"]]
    assert set(rows[0]) == {
        *("images", "number", "fid", "inception_score", "inception_score_deviation"),
        *("precision", "recall"),
    }


def test_the_distance_of_another_classifier_has_another_name(run, tmp_path):
    words = ["--run", str(run), "--samples", "12", "--features", "own", "--batch-size", "5"]
    rows = fid.main([*words, "--output", str(tmp_path / "a")])
    assert set(rows[0]) == {"images", "number", "feature_fid", "precision", "recall"}
    # Neither batches nor their padding matter.
    again = fid.main([*words[:-1], "12", "--output", str(tmp_path / "b")])
    for row, other in zip(rows, again, strict=True):
        assert row["feature_fid"] == pytest.approx(other["feature_fid"], rel=1e-3)


def test_two_folders_of_images_of_any_size(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(fid, "public_measure", lambda: cheap)
    generator = np.random.default_rng(0)
    for name, shift in (("made", 60), ("real", 0)):
        (tmp_path / name).mkdir()
        for number in range(12):
            shape = (8 + number, 9, 3) if number % 2 else (8, 9)
            pixels = generator.integers(0, 190, shape, dtype=np.uint8) + np.uint8(shift)
            Image.fromarray(pixels).save(tmp_path / name / f"{number}.png")
    folders = [str(tmp_path / name) for name in ("made", "real")]
    (row,) = fid.main([*folders, "--output", str(tmp_path / "out")])
    assert row["images"] == folders[0] and row["number"] == 12
    found = [cheap(fid.Files(sorted((tmp_path / n).iterdir()))) for n in ("real", "made")]
    assert row["fid"] == pytest.approx(fid.scores(*found)["fid"])
    assert row["fid"] > 60**2 / 2
    (tmp_path / "empty").mkdir()
    assert "the folder holds no images" in failure(capsys, folders[0], str(tmp_path / "empty"))


@pytest.mark.parametrize("case", fidelity.SCORED)
def test_scores_are_those_of_torch_fidelity(case):
    expected = json.loads((HERE / "sample_scores.json").read_text())[case]
    real, made, logits = fidelity.drawn_features(*fidelity.SCORED[case])
    probabilities = np.asarray(jax.nn.softmax(logits))
    found = fid.scores({"features": real}, {"features": made, "probabilities": probabilities})
    assert_close(found, expected, rtol=1e-5)


@pytest.mark.full
def test_inception_s_features_and_probabilities_are_torch_fidelity_s():
    """In float32, of the weights whose float64 results are recorded."""
    shape, size = fidelity.CASES["shrunk"]
    record = json.loads((HERE / f"{fid.PUBLIC}_shrunk.json").read_text())
    model = create_model(fid.PUBLIC)
    state_dict = drawn_state(model, example_shape(fid.PUBLIC))
    network = Network(model, from_torch(model, state_dict), None, (), fid.PUBLIC)
    found = fid.inception_measure(network, size)(list(fidelity.pixels(shape)))
    assert_close(digest(found["features"])["values"], record["pooled"]["values"], rtol=1e-4)
    logits = np.log(found["probabilities"]) + state_dict["fc.bias"]
    # Softmax leaves the sum of the logits open.
    kernel, pooled = state_dict["fc.weight"], found["features"]
    expected = pooled @ kernel.T + state_dict["fc.bias"]
    assert_close(digest(expected)["values"], record["logits"]["values"], rtol=1e-4)
    centred = [one - one.mean(axis=1, keepdims=True) for one in (logits, expected)]
    assert_close(*centred, rtol=1e-4)


def test_without_the_weights_there_is_a_way_out(run, capsys, monkeypatch):
    def none(name):
        assert name == "fid_inception_v3"
        raise UserError("the weights cannot be downloaded")

    monkeypatch.setattr("cnn_jax.pretrained.load", none)
    message = failure(capsys, "--run", str(run))
    assert "the weights cannot be downloaded Or measure by the classifier of a run" in message
    assert "--features own, whose distance is not the published FID" in message


def test_what_it_cannot_measure(run, tmp_path, capsys):
    assert "which images? Give --run DIRECTORY or two folders" in failure(capsys)
    message = failure(capsys, "one", "--features", "own")
    assert "of generated and of real images, got 1 folders" in message
    assert "got 2 folders and --run" in failure(capsys, "a", "b", "--run", str(run))
    message = failure(capsys, "a", "b", "--features", "own")
    assert "--features own is the classifier of a --run" in message
    assert "samples must be at least 2" in failure(capsys, "--run", str(run), "--samples", "1")
    make_run(tmp_path / "classifier", DataConfig(name="digits"))
    message = failure(capsys, "--run", str(tmp_path / "classifier"))
    assert "got a run of the task Classification; name a run of dcgan" in message
    task = replace(dcgan.build(dcgan.SMOKE)["gan"].task, classifier=None)
    with pytest.raises(ConfigError, match="mine has no classifier of its own: use --features pub"):
        fid.own_measure(Network(task.model, {}, None, (), "mine", task))
