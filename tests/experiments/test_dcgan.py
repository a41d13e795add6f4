"""What a run of a GAN leaves, and what is generated from it."""

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

from cnn_jax.data import DataConfig
from cnn_jax.errors import ConfigError
from cnn_jax.models import SNGANGenerator
from experiments import dcgan
from experiments.tools import generate
from experiments.tools.generate_images import draw_latents
from experiments.tools.sample_figures import interpolate
from tests.experiments.small_run import make_run, save_run


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A class-conditional pair for digits, with random weights."""
    directory = tmp_path_factory.mktemp("runs") / "dcgan" / "one"
    config = replace(dcgan.SMOKE, conditional=True)
    experiment = dcgan.build(config)["gan"]
    # Nothing is classified here.
    task = replace(experiment.task, classifier=None)
    save_run(directory, "dcgan", config, replace(experiment, task=task))
    return directory


def made(folder):
    paths = sorted((folder / "images").glob("*.png"))
    return [np.asarray(Image.open(path)) for path in paths]


def ask(run, folder, *flags):
    generate.main(["--run", str(run), "--output", str(folder), *flags])
    return made(folder)


def test_images_of_classes(run, tmp_path, capsys):
    three = ask(run, tmp_path / "a", "--samples", "3")
    assert f"3 images; see {tmp_path / 'a'}" in " ".join(capsys.readouterr().out.split())
    assert (tmp_path / "a" / "samples.png").is_file()
    assert [image.shape for image in three] == [(8, 8)] * 3
    # Classes come in turn, so the third sample is a two.
    again = ask(run, tmp_path / "b", "--samples", "3", "--label", "2")
    np.testing.assert_array_equal(again[2], three[2])
    assert (again[0] != three[0]).any()
    other = ask(run, tmp_path / "c", "--samples", "3", "--label", "2", "--seed", "1")
    assert (other[2] != again[2]).any()


def test_images_between_samples(run, tmp_path):
    between = ask(run, tmp_path / "a", "--samples", "3", "--between", "4", "--label", "1")
    assert len(between) == 8
    ends = ask(run, tmp_path / "b", "--samples", "3", "--label", "1")
    np.testing.assert_array_equal([between[0], between[3], between[7]], ends)
    np.testing.assert_array_equal(between[4], ends[1])


def test_truncated_latents_are_those_of_a_cut_normal_distribution():
    latents = draw_latents(100, 50, 0, 0.5)
    assert np.abs(latents).max() <= 0.5
    # Of a normal distribution that is cut at ±0.5.
    assert abs(np.std(latents) - 0.2841) < 0.005
    assert abs(np.std(draw_latents(100, 50, 0, 0.0)) - 1) < 0.03


def test_what_it_cannot_make(run, tmp_path, capsys):
    for flags, message in (
        (["--label", "cat"], "--label 'cat' is no class of dcgan/one"),
        (["--between", "5"], "--between needs at least 2 --samples, got 1"),
        (["--prompt", "a"], "makes no text, which --prompt is for"),
        (["--samples", "0"], "samples must be at least 1"),
    ):
        with pytest.raises(SystemExit):
            generate.main(["--run", str(run), "--output", str(tmp_path), *flags])
        captured = capsys.readouterr()
        assert message in " ".join((captured.out + captured.err).split())
    make_run(tmp_path / "classifier", DataConfig(name="digits"))
    with pytest.raises(SystemExit):
        generate.main(["--run", str(tmp_path / "classifier")])
    captured = capsys.readouterr()
    assert "got a run of the task Classification" in captured.out + captured.err


def test_interpolated_latents_keep_their_length():
    start, end = np.array([3.0, 0, 0]), np.array([0, 3.0, 0])
    path = interpolate(start, end, 5)
    np.testing.assert_allclose(np.linalg.norm(path, axis=1), 3, rtol=1e-6)
    np.testing.assert_allclose(path[[0, 4]], [start, end], atol=1e-6)
    np.testing.assert_allclose(path[2], [4.5**0.5, 4.5**0.5, 0], rtol=1e-6)
    np.testing.assert_allclose(interpolate(start, 2 * start, 3)[1], 1.5 * start, rtol=1e-6)


def test_recipes_make_their_networks():
    digits = replace(dcgan.SNGAN, data=dcgan.SMOKE.data, conditional=True)
    study = dcgan.build(digits)
    task = study["gan"].task
    assert isinstance(task.model.generator, SNGANGenerator)
    assert (task.loss, task.model.generator.num_classes) == ("hinge", 10)
    assert (task.model.generator.width, task.model.discriminator.width) == (256, 128)
    task = dcgan.build(replace(dcgan.WGAN_GP, data=dcgan.SMOKE.data))["gan"].task
    assert (task.loss, task.penalty, task.model.discriminator.norm) == (
        "wasserstein",
        "gradient",
        "none",
    )
    with pytest.raises(ConfigError, match="gradient penalty is about the logit of one image"):
        dcgan.build(replace(dcgan.SMOKE, loss="wasserstein", penalty="gradient"))
    with pytest.raises(ConfigError, match="Wasserstein loss needs a discriminator with a bounded"):
        dcgan.build(replace(dcgan.SMOKE, loss="wasserstein"))


def test_the_trained_classifier_takes_the_place_of_the_fresh_one():
    trained = SimpleNamespace(variables={"params": {"head": 1}})
    fresh = {"params": {"generator": 2}, "constants": {"classifier": {"params": {"head": 0}}}}
    changed = dcgan.with_classifier(fresh, {"classifier": trained})
    assert changed == {
        "params": {"generator": 2},
        "constants": {"classifier": {"params": {"head": 1}}},
    }
