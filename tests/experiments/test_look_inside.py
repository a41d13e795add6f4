import jax
import numpy as np
import pytest
from PIL import Image

from cnn_jax import pretrained
from cnn_jax.models import create_model
from cnn_jax.models.summary import feature_shapes
from cnn_jax.pretrained import Network, Preprocessing
from experiments.tools.feature_maps import logits_and_features
from experiments.tools.look_inside import Inside, Options, main

NETWORK = ["--model", "lenet5", "--image-size", "28"]
FAST = ["--cells", "3", "--steps", "2"]


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    """A state dict of random weights for three classes, and the names of the classes."""
    numpy = pytest.importorskip("safetensors.numpy")
    folder = tmp_path_factory.mktemp("weights")
    model = create_model("lenet5", num_classes=3)
    variables = jax.jit(model.init)(jax.random.key(0), np.zeros((1, 28, 28, 3), np.float32))
    numpy.save_file(pretrained.to_torch(model, variables), folder / "mine.safetensors")
    (folder / "names.txt").write_text("cat\ndog\nBird\n")
    return folder / "mine.safetensors", folder / "names.txt"


@pytest.fixture
def images(tmp_path):
    """Two images of one name, in two folders, and a text."""
    folder = tmp_path / "images"
    for part in ("a", "b"):
        (folder / part).mkdir(parents=True)
        pixels = np.random.default_rng(0).integers(0, 256, (40, 50, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(folder / part / "one.png")
    (folder / "text.jpg").write_text("no image")
    return folder


def call(checkpoint, images, tmp_path, *flags):
    file, names = map(str, checkpoint)
    words = [*NETWORK, "--checkpoint", file, "--classes", names, "--output", str(tmp_path / "out")]
    main([str(images), *words, *FAST, *flags])


def test_every_image_gets_a_sheet(checkpoint, images, tmp_path, capsys):
    call(checkpoint, images, tmp_path, "--explain", "bird", "0", "--layer", "conv2")
    printed = capsys.readouterr().out
    assert "text.jpg: its content is not an image" in printed
    sheets = sorted((tmp_path / "out").iterdir())
    assert [sheet.name for sheet in sheets] == ["one-2.png", "one.png"]
    assert all(str(sheet) in printed.replace("\n", "") for sheet in sheets)
    first, second = (np.asarray(Image.open(sheet)) for sheet in sheets)
    np.testing.assert_array_equal(first, second)  # of the same image
    assert first.shape[1] > 1000


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--layer", "stage9"], "no layer 'stage9'; there are conv1, stage1, conv2, stage2"),
        (["--explain", "brd"], "no class 'brd' among the 3; did you mean bird?"),
        (["--explain", "3"], "no class '3' among the 3; give its name or number"),
        (["--steps", "0"], "steps must be at least 1, got 0"),
    ],
)
def test_what_is_wrong_ends_with_its_message(flags, message, checkpoint, images, tmp_path, capsys):
    with pytest.raises(SystemExit) as stop:
        call(checkpoint, images, tmp_path, *flags)
    assert stop.value.code == 2
    printed = capsys.readouterr().out
    assert printed.startswith("error: ") and message in printed


def test_no_good_image_is_an_error(checkpoint, images, tmp_path, capsys):
    with pytest.raises(SystemExit):
        call(checkpoint, images / "text.jpg", tmp_path)
    assert "none of 1 file could be read as an image" in capsys.readouterr().out


@pytest.mark.parametrize("hidden", [(5,), ()])
def test_a_network_without_maps_has_a_sheet_too(hidden):
    model = create_model("mlp", hidden=hidden, num_classes=3)
    variables = jax.jit(model.init)(jax.random.key(0), np.zeros((1, 6, 6, 1), np.float32))
    preprocessing = Preprocessing(0, 6, (0.5,), (0.25,))
    network = Network(model, variables, preprocessing, ("cat", "dog", "bird"), "an MLP")
    inside = Inside(network, Options(("some",), cells=2, steps=2))
    image = np.random.default_rng(0).integers(0, 256, (6, 6, 1), dtype=np.uint8)
    figure = inside.sheet(image, "gray.png")
    # Image and bars; gradient and occlusion with colour bars, guided gradient, the network's image.
    assert len(figure.axes) == 2 + 2 * 2 + 2
    with pytest.raises(ValueError, match="hidden1"):
        Inside(network, Options(("some",), layer="hidden1"))


@pytest.mark.parametrize("name", ["cifar_resnet20", "simple_cnn", "mlp"])
def test_logits_and_features_are_the_models_own(name):
    model = create_model(name)
    images = jax.random.normal(jax.random.key(1), (2, 16, 16, 3))
    variables = jax.jit(model.init)(jax.random.key(0), images)
    logits, features = jax.jit(lambda v, x: logits_and_features(model, v, x))(variables, images)
    np.testing.assert_allclose(logits, jax.jit(model.apply)(variables, images), rtol=1e-5)
    shapes = feature_shapes(model, (16, 16, 3))
    assert {name: feature.shape[1:] for name, feature in features.items()} == shapes
    expected = jax.jit(lambda v, x: model.apply(v, x, method="features"))(variables, images)
    for feature, array in expected.items():
        np.testing.assert_allclose(features[feature], array, rtol=1e-5, atol=1e-6)


def test_layers_are_in_forward_order():
    model = create_model("lenet5")
    shapes = feature_shapes(model, (28, 28, 1))
    assert list(shapes.items()) == [
        ("conv1", (28, 28, 6)),
        ("stage1", (14, 14, 6)),
        ("conv2", (10, 10, 16)),
        ("stage2", (5, 5, 16)),
    ]
