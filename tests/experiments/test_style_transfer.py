"""Style transfer by optimization: its files, its colours, and what is said of bad input."""

import csv

import jax
import numpy as np
import pytest
from PIL import Image

from cnn_jax.style import luminance
from experiments import style_transfer
from experiments.tools.style_network import StyleNetworkConfig, load_style_network
from experiments.tools.style_scales import prepared

FAST = ("--network", "own", "--size", "32", "--scales", "1", "--iterations", "2")
SHALLOW = (*FAST, "--style-layers", "conv1_1", "--content-layers", "conv1_1")
CHEAP = (*SHALLOW, "--optimizer", "adam")


def draw(path, width=40, height=32, seed=0, mode="RGB", **options):
    """A picture of large pixels, so that resizing keeps something of it."""
    channels = {"RGB": 3, "L": 1, "RGBA": 4}[mode]
    cells = np.random.default_rng(seed).integers(0, 256, (4, 5, channels), dtype=np.uint8)
    small = Image.fromarray(cells.squeeze(), mode)
    small.resize((width, height), Image.Resampling.NEAREST).save(path, **options)
    return str(path)


@pytest.fixture
def pictures(tmp_path):
    return draw(tmp_path / "content.png"), draw(tmp_path / "style.png", seed=1)


def run(capsys, tmp_path, *words, output="out"):
    folder = tmp_path / output
    style_transfer.main([*words, "--output", str(folder)])
    return folder, " ".join(capsys.readouterr().out.split())


def failure(capsys, *words):
    with pytest.raises(SystemExit) as exit:
        style_transfer.main(list(words))
    assert exit.value.code == 2
    return " ".join(capsys.readouterr().out.split())


def pixels(path):
    return np.asarray(Image.open(path), np.float64) / 255


def test_a_picture_its_progress_losses_and_a_sheet(capsys, tmp_path, pictures):
    folder, shown = run(capsys, tmp_path, *pictures, *SHALLOW, "--every", "1", "--size", "40")
    assert "features of our own small VGG" in shown
    assert "40x32: 2 iterations" in shown
    result = Image.open(folder / "result.png")
    assert result.size == (40, 32) and result.mode == "RGB"
    assert (folder / "sheet.png").stat().st_size > 10_000
    names = sorted(path.name for path in (folder / "progress").iterdir())
    assert names == ["00000-40.png", "00001-40.png", "00002-40.png"]
    with (folder / "losses.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [row["iteration"] for row in rows] == ["0", "1", "2"]
    losses = [float(row["loss"]) for row in rows]
    assert losses == sorted(losses, reverse=True) and losses[0] > losses[-1]


def test_scales_go_on_from_smaller_ones(capsys, tmp_path, pictures):
    folder, shown = run(capsys, tmp_path, *pictures, *CHEAP, "--scales", "2")
    assert "16x13: 2 iterations" in shown and "32x26: 2 iterations" in shown
    names = sorted(path.name for path in (folder / "progress").iterdir())
    assert names[-1] == "00004-32.png"


def test_luminance_alone_keeps_the_colours(capsys, tmp_path, pictures):
    folder, _ = run(capsys, tmp_path, *pictures, *CHEAP, "--colour", "luminance")
    result = pixels(folder / "result.png")
    content = pixels(pictures[0])
    # Where nothing was clipped, the colour differences are the content's at this size.
    assert result.shape == (26, 32, 3) and np.abs(result - luminance(result)).max() > 0.1
    assert content.shape == (32, 40, 3)


@pytest.mark.full
def test_several_styles_are_shared(capsys, tmp_path, pictures):
    content, style = pictures
    other = draw(tmp_path / "other.png", width=20, height=50, seed=2)
    both, _ = run(capsys, tmp_path, content, style, other, *CHEAP, output="both")
    one, _ = run(capsys, tmp_path, content, style, other, *CHEAP, "--shares", "1", "0", output="a")
    alone, _ = run(capsys, tmp_path, content, style, *CHEAP, output="b")
    np.testing.assert_array_equal(pixels(one / "result.png"), pixels(alone / "result.png"))
    assert not np.array_equal(pixels(both / "result.png"), pixels(alone / "result.png"))


@pytest.mark.parametrize("colour", ["match", "histogram"])
def test_styles_get_the_colours_of_the_content(colour):
    generator = np.random.default_rng(0)
    content = generator.integers(60, 120, (20, 24, 3), dtype=np.uint8)
    style = generator.integers(0, 255, (30, 18, 3), dtype=np.uint8)
    original, seen, (changed,) = prepared(content, [style], size=24, style_size=1.0, colour=colour)
    np.testing.assert_array_equal(seen, original)
    for moment in (np.mean, np.std):
        expected = moment(original, axis=(0, 1))
        np.testing.assert_allclose(moment(changed, axis=(0, 1)), expected, rtol=0.01)


def test_gray_pictures_transparency_and_orientation_are_read_as_elsewhere(capsys, tmp_path):
    gray = draw(tmp_path / "gray.png", mode="L")
    clear = draw(tmp_path / "clear.png", mode="RGBA")
    exif = Image.Exif()
    exif[0x0112] = 6  # turned by a quarter
    turned = draw(tmp_path / "turned.jpg", exif=exif)
    folder, _ = run(capsys, tmp_path, turned, gray, clear, *CHEAP)
    assert Image.open(folder / "result.png").size == (26, 32)


def test_bad_input_is_told(capsys, tmp_path, pictures):
    content, style = pictures
    missing = str(tmp_path / "no.png")
    assert "no.png: No such file" in failure(capsys, content, missing, *CHEAP)
    (tmp_path / "broken.jpg").write_bytes(b"\xff\xd8no image")
    assert "broken.jpg" in failure(capsys, str(tmp_path / "broken.jpg"), style, *CHEAP)
    pixel = draw(tmp_path / "pixel.png", width=1, height=1)
    shown = failure(capsys, pixel, style, *CHEAP)
    assert "pixel.png has 1x1 pixels, expected at least 16x16: take a larger picture" in shown
    shown = failure(capsys, content, style, *CHEAP, "--shares", "1", "2")
    assert "--shares of the styles: expected 1 numbers" in shown
    shown = failure(capsys, content, style, *FAST, "--scales", "4")
    assert "at the smallest of 4 sizes the image has 4x3 pixels" in shown
    assert "use fewer --scales" in shown
    assert "no style" in failure(capsys, content, *CHEAP)
    empty = tmp_path / "empty"
    empty.mkdir()
    assert "the folder holds no images" in failure(capsys, content, str(empty), *CHEAP)


def test_networks_and_layers_that_are_not_there_are_told(capsys, pictures):
    shown = failure(capsys, *pictures, "--network", "own", "--style-layers", "conv9_1")
    assert "there is no layer 'conv9_1'; there are conv1_1" in shown
    shown = failure(capsys, *pictures, "--network", "own", "--style-layers", "stage1")
    assert "the layer 'stage1' is a pooled one" in shown
    assert "unknown model 'vgg91'; did you mean" in failure(capsys, *pictures, "--network", "vgg91")
    shown = failure(capsys, *pictures, "--network", "cifar_vgg9", "--checkpoint", "none.pth")
    assert "none.pth" in shown
    shown = failure(capsys, *pictures, "--checkpoint", "mine.pth")
    assert "needs the name of its model" in shown


def test_without_public_weights_our_own_network_takes_their_place(monkeypatch):
    from cnn_jax.errors import UserError
    from experiments.tools import style_network

    def out_of_reach(name):
        raise UserError("the weights cannot be downloaded.\n  by hand")

    monkeypatch.setattr(style_network.pretrained, "load", out_of_reach)
    network = load_style_network(StyleNetworkConfig())
    assert network.notes == (
        "our own small VGG takes the place of VGG-19: the weights cannot be downloaded.",
    )
    assert network.style_layers == ("conv1_1", "conv2_1", "conv3_1", "conv4_1")
    assert network.content_layers == ("conv4_2",)


def test_our_own_network_is_trained_once(monkeypatch, tmp_path, same_signal_handlers):
    from experiments.tools import own_network

    monkeypatch.setattr(own_network, "DATA", {"none": "no data", "shapes": "scenes of shapes"})
    short = own_network.COMMAND.replace("320steps", "1step") + " --training.batch-size 8"
    some = " --data.train train[:16] --data.validation validation[:8]"
    monkeypatch.setattr(own_network, "COMMAND", short + some)
    network = own_network.own_network(tmp_path)
    assert network.title == "our own small VGG, trained on scenes of shapes"
    assert (tmp_path / "own_network" / "shapes" / "summary.json").exists()
    monkeypatch.setattr(own_network, "run", None)
    again = own_network.own_network(tmp_path)
    jax.tree.map(np.testing.assert_array_equal, again.variables, network.variables)


def test_only_the_layers_that_count_are_kept():
    layers = StyleNetworkConfig(
        network="own", style_layers=("conv2_1",), content_layers=("conv1_2",)
    )
    network = load_style_network(layers)
    kept = {"conv1_1", "norm1_1", "conv1_2", "norm1_2", "conv2_1", "norm2_1"}
    assert network.variables["params"]["body"].keys() == kept
    assert network.least_size == 4


def test_help_explains_every_flag(capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "200")
    with pytest.raises(SystemExit):
        style_transfer.main(["--help"])
    shown = capsys.readouterr().out
    fields = set(style_transfer.Config.__dataclass_fields__) - {"content", "styles"}
    for name in fields | set(StyleNetworkConfig.__dataclass_fields__):
        assert f"--{name.replace('_', '-')}" in shown, name
