import jax
import numpy as np
import pytest
from PIL import Image

from cnn_jax import pretrained
from cnn_jax.models import create_model
from experiments.tools import features

NETWORK = ["--model", "lenet5", "--image-size", "28", "--num-classes", "3"]


@pytest.fixture(scope="module")
def network(tmp_path_factory):
    """LeNet-5 with random weights, and its flags."""
    numpy = pytest.importorskip("safetensors.numpy")
    file = tmp_path_factory.mktemp("weights") / "mine.safetensors"
    model = create_model("lenet5", num_classes=3)
    variables = jax.jit(model.init)(jax.random.key(0), np.zeros((1, 28, 28, 3), np.float32))
    numpy.save_file(pretrained.to_torch(model, variables), file)
    return model, variables, [*NETWORK, "--checkpoint", str(file)]


@pytest.fixture
def images(tmp_path):
    """Five images, of which the last is nearly the first, and a text."""
    folder = tmp_path / "images"
    folder.mkdir()
    random = np.random.default_rng(0)
    pixels = random.integers(10, 240, (5, 32, 32, 3), dtype=np.uint8)
    pixels[4] = pixels[0] + random.integers(0, 2, (32, 32, 3), dtype=np.uint8)
    for number, image in enumerate(pixels):
        Image.fromarray(image).save(folder / f"{number}.png")
    (folder / "text.jpg").write_text("no image")
    return folder


def call(network, images, *flags):
    features.main([str(images), *network[2], *flags])


@pytest.mark.parametrize(("pool", "shape"), [("mean", (5, 16)), ("none", (5, 10, 10, 16))])
def test_features_are_those_of_each_image_alone(pool, shape, network, images, tmp_path, capsys):
    output = tmp_path / "new" / "out"
    flags = ["--layer", "conv2", "--pool", pool, "--batch-size", "2", "--output", str(output)]
    call(network, images, *flags)
    printed = capsys.readouterr().out
    assert f"conv2 of 5 images, {' x '.join(map(str, shape[1:]))} numbers each" in printed
    assert "text.jpg: its content is not an image" in printed
    with np.load(output / "features.npz") as written:
        assert written["features"].shape == shape and written["features"].dtype == np.float32
        assert str(written["layer"]) == "conv2"
        assert str(written["network"]) == "lenet5, mine.safetensors"
        assert [str(path) for path in written["paths"]] == [
            str(images / f"{number}.png") for number in range(5)
        ]
        found = written["features"][3]
    model, variables, _ = network
    preprocessing = pretrained.Preprocessing(28, 28)
    inputs = preprocessing(np.asarray(Image.open(images / "3.png")))[None]
    expected = np.asarray(model.apply(variables, inputs, method="features")["conv2"][0])
    expected = expected.mean(axis=(0, 1)) if pool == "mean" else expected
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)


def test_neighbours_are_drawn_without_the_image_itself(network, images, tmp_path, monkeypatch):
    drawn = {}

    def image_grid(images, captions, **options):
        drawn.update(options, captions=captions, count=len(images))
        return original(images, captions, **options)

    original = features.image_grid
    monkeypatch.setattr(features, "image_grid", image_grid)
    output = tmp_path / "out"
    query = str(images / "0.png")
    call(network, images, "--neighbours", query, "--count", "9", "--output", str(output))
    assert (output / "neighbours.png").exists()
    # Four others, though nine were asked for; the nearest is the copy.
    assert drawn["count"] == drawn["columns"] == 5
    assert drawn["captions"][0].startswith("0.png")
    assert drawn["captions"][1].startswith("4.png")
    assert not any(caption.startswith("0.png") for caption in drawn["captions"][1:])


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--layer", "stage9"], "no layer 'stage9'; there are conv1, stage1, conv2, stage2"),
        (["--output", __file__], "it is a file, expected a folder"),
        (["--count", "0"], "count must be at least 1, got 0"),
        (["--batch-size", "0"], "batch_size must be at least 1, got 0"),
        (["--neighbours", "gone.png", "--output"], "none of 1 file could be read as an image"),
    ],
)
def test_what_is_wrong_ends_with_its_message(flags, message, network, images, tmp_path, capsys):
    if flags[-1] == "--output":
        flags = [*flags, str(tmp_path / "out")]
    with pytest.raises(SystemExit) as stop:
        call(network, images, *flags)
    assert stop.value.code == 2
    assert message in capsys.readouterr().out


def test_an_image_alone_has_no_neighbours(network, images, tmp_path, capsys):
    alone = str(images / "0.png")
    with pytest.raises(SystemExit):
        call(network, alone, "--neighbours", alone, "--output", str(tmp_path / "out"))
    assert "no other image to find neighbours in" in capsys.readouterr().out
