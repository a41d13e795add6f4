"""Fast style transfer: its data, both networks, and the tool that applies them."""

from dataclasses import replace

import jax
import numpy as np
import pytest
from PIL import Image

from cnn_jax import load_run
from cnn_jax.data import DataConfig
from cnn_jax.data.errors import DataError
from cnn_jax.models import AdaIN, TransformationNetwork
from cnn_jax.pretrained import to_torch
from experiments import fast_style_transfer
from experiments.tools import stylize
from experiments.tools.style_network import StyleNetworkConfig

SMOKE = fast_style_transfer.SMOKE


def save(path, width=20, height=16, seed=0):
    path.parent.mkdir(parents=True, exist_ok=True)
    image = np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)
    Image.fromarray(image).save(path)
    return path


def pixels(path):
    with Image.open(path) as image:
        return np.asarray(image, np.float32)


@pytest.fixture
def folder(tmp_path):
    """Photographs without classes, some in a folder below."""
    for number in range(12):
        save(tmp_path / "photos" / ("more" if number % 2 else "") / f"{number}.png", seed=number)
    return tmp_path / "photos"


def test_a_folder_needs_no_classes(folder):
    dataset = fast_style_transfer.load_pictures(DataConfig(name=str(folder), image_size=16))
    assert dataset.image_shape == (16, 16, 3)
    assert {name: len(split) for name, split in dataset.splits.items()} == {
        "train": 11,
        "validation": 1,
    }
    (folder / "train").mkdir()
    with pytest.raises(DataError, match="train holds no images"):
        fast_style_transfer.load_pictures(DataConfig(name=str(folder), image_size=16))


def test_gray_images_become_rgb():
    dataset = fast_style_transfer.load_pictures(DataConfig(name="digits"))
    assert dataset.image_shape == (8, 8, 3)


def test_parts_of_the_photographs_are_the_stand_in():
    dataset = fast_style_transfer.load_pictures(DataConfig(image_size=16))
    assert dataset.stand_in and "name a folder" in dataset.notes[0]
    train, held_out = (dataset.splits[name].arrays["image"] for name in ("train", "validation"))
    assert train.shape == (256, 16, 16, 3) and held_out.shape == (16, 16, 16, 3)
    assert train.std() > 20 and not np.array_equal(train[:16], held_out)


def test_the_style_decides_the_gram_matrices(tmp_path):
    one, other = (
        fast_style_transfer.build(replace(SMOKE, style=str(save(tmp_path / name, 90, 80, seed))))
        for seed, name in enumerate(("one.png", "other.png"))
    )
    grams = [
        experiment.initialize({"params": {}}, {})["constants"]["grams"]
        for experiment in (one, other)
    ]
    assert grams[0].keys() == set(one.task.style_layers)
    assert not np.allclose(grams[0]["conv1_1"], grams[1]["conv1_1"])


def test_what_does_not_fit_is_told(tmp_path):
    small = save(tmp_path / "small.png", 60, 20)
    layers = StyleNetworkConfig(network="own", style_layers=("conv4_1",))
    with pytest.raises(ValueError, match="the style has 32x11 pixels, and the layers conv4_1 need"):
        fast_style_transfer.build(replace(SMOKE, style=str(small), style_size=32, network=layers))


@pytest.fixture(scope="module")
def adain(tmp_path_factory):
    """The directory of a short run of --model adain, with two styles."""
    folder = tmp_path_factory.mktemp("adain")
    for number in range(2):
        save(folder / "styles" / f"{number}.png", seed=number)
    config = replace(
        SMOKE,
        model="adain",
        style=str(folder / "styles"),
        network=StyleNetworkConfig(
            network="own", style_layers=("conv1_1", "conv2_1"), content_layers=("conv2_1",)
        ),
        data=DataConfig(image_size=16),
        training=replace(SMOKE.training, duration="3 steps", evaluate_every="3 steps"),
    )
    experiment = fast_style_transfer.build(config)
    return folder, experiment


def test_adain_starts_from_the_network_and_trains_its_decoder_alone(adain):
    from cnn_jax.training import train
    from experiments.tools.style_network import load_style_network
    from tests.training.small import one_device

    folder, experiment = adain
    (folder / "run").mkdir()
    result = train(experiment, folder / "run", one_device(), seed=0, title="adain")
    network = load_style_network(StyleNetworkConfig(network="own"))
    encoder = result.variables["params"]["encoder"]["body"]
    own = network.variables["params"]["body"]
    np.testing.assert_array_equal(encoder["conv2_1"]["kernel"], own["conv2_1"]["kernel"])
    assert result.variables["constants"]["styles"].shape == (2, 16, 16, 3)
    assert np.isfinite(result.summary["validation"]["style"])


def checkpoint(path):
    """A file of random weights with the names of PyTorch's example."""
    numpy = pytest.importorskip("safetensors.numpy")
    model = TransformationNetwork()
    shapes = jax.eval_shape(model.init, jax.random.key(0), np.zeros((1, 16, 16, 3)))
    rng = np.random.default_rng(0)
    drawn = jax.tree.map(
        lambda one: (0.02 * rng.standard_normal(one.shape)).astype(np.float32), shapes
    )
    numpy.save_file(to_torch(model, drawn), path)
    return model, drawn


def test_frames_of_a_folder_in_batches_equal_single_ones(tmp_path, capsys):
    """More of them than a batch, one of another size and one unreadable file."""
    model, variables = checkpoint(tmp_path / "candy.safetensors")
    frames = [save(tmp_path / "frames" / f"{n:02}.png", seed=n) for n in range(5)]
    save(tmp_path / "frames" / "05.png", 13, 9, seed=5)
    (tmp_path / "frames" / "bad.png").write_text("no image")
    words = ["--checkpoint", str(tmp_path / "candy.safetensors"), str(tmp_path / "frames")]
    stylize.main([*words, "--batch-size", "2", "--output", str(tmp_path / "out")])
    shown = " ".join(capsys.readouterr().out.split())
    assert "6 images" in shown and "1 file could not be read" in shown
    written = sorted(path.name for path in (tmp_path / "out").iterdir())
    assert written == [*(f"{n:02}.png" for n in range(6)), "sheet.png"]
    assert pixels(tmp_path / "out" / "05.png").shape == (9, 13, 3)
    image = pixels(frames[4])[None]
    expected = np.round(np.clip(jax.jit(model.apply)(variables, image), 0, 255))[0]
    styled = pixels(tmp_path / "out" / "04.png")
    assert np.abs(styled - expected).max() <= 1


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ((), "which network? Give --run DIRECTORY or --checkpoint FILE"),
        (("--run", "nowhere"), "there is no run in nowhere"),
        (("--checkpoint", "no.pth"), "no.pth"),
        (("--alpha", "2", "--run", "x"), "alpha must be at least 0 and at most 1"),
    ],
)
def test_what_is_missing_is_told(tmp_path, capsys, words, message):
    path = save(tmp_path / "a.png")
    with pytest.raises(SystemExit) as exit:
        stylize.main([*words, str(path)])
    assert exit.value.code == 2
    assert message in " ".join(capsys.readouterr().out.split())


def test_a_run_is_applied_at_any_size(start, tmp_path, capsys):
    short = ("--training.duration", "2 steps", "--training.evaluate-every", "2 steps")
    start("fast_style_transfer", "--smoke", "--name", "one", *short)
    directory = tmp_path / "fast_style_transfer" / "one"
    assert (directory / "figures" / "styled-000002.png").is_file()
    network = load_run(directory)
    assert isinstance(network.model, TransformationNetwork)
    path = save(tmp_path / "photo.png", 19, 33)
    stylize.main(["--run", str(directory), str(path), "--output", str(tmp_path / "out")])
    assert pixels(tmp_path / "out" / "photo.png").shape == (33, 19, 3)
    capsys.readouterr()
    with pytest.raises(SystemExit):
        stylize.main(["--run", str(directory), "--style", str(path), str(path)])
    assert "has one style: leave out --style" in " ".join(capsys.readouterr().out.split())


def test_adain_takes_any_style(adain, tmp_path, monkeypatch, capsys):
    """With random weights; alpha 0 leaves the style without effect."""
    from cnn_jax.pretrained import Network, Preprocessing

    _, experiment = adain
    model: AdaIN = experiment.task.model
    images = np.zeros((1, 16, 16, 3), np.float32)
    variables = jax.jit(model.init)(jax.random.key(0), images, images)
    network = Network(model, dict(variables), Preprocessing(), (), "adain")
    monkeypatch.setattr(stylize, "load_run", lambda run, at: network)
    content = str(save(tmp_path / "photo.png", 18, 22))
    outputs = {}
    for alpha in ("0", "1"):
        for seed in (1, 2):
            style = str(save(tmp_path / f"style{seed}.png", 30, 24, seed=seed))
            folder = tmp_path / f"{alpha}-{seed}"
            words = ["--run", "run", "--style", style, "--alpha", alpha, "--style-size", "24"]
            stylize.main([*words, content, "--output", str(folder)])
            outputs[alpha, seed] = pixels(folder / "photo.png")
    assert outputs["1", 1].shape == (22, 18, 3)
    np.testing.assert_array_equal(outputs["0", 1], outputs["0", 2])
    capsys.readouterr()
    with pytest.raises(SystemExit):
        stylize.main(["--run", "run", content])
    assert "adain needs a --style picture" in " ".join(capsys.readouterr().out.split())
