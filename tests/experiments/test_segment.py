"""The classes of a user's own images, and tools that refuse networks for segmentation."""

import csv
import json
from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image

from cnn_jax import load_run
from cnn_jax.data import DataConfig
from cnn_jax.errors import ConfigError
from cnn_jax.models import create_model
from cnn_jax.pretrained import Network, Preprocessing
from cnn_jax.tasks import Segmentation, pixel_counts, segmentation_scores
from experiments import unet
from experiments.tools import evaluate, export, features, look_inside, predict, segment
from experiments.tools.networks import NetworkConfig, as_segmenter, load_any_network
from tests.experiments.small_run import make_run, save_run

CLASSES = ("background", "circle", "square", "triangle")


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A U-Net for scenes of shapes, 32x32."""
    directory = tmp_path_factory.mktemp("runs") / "unet" / "one"
    config = replace(unet.SMOKE, norm="none")
    save_run(directory, "unet", config, unet.build(config))
    return directory


@pytest.fixture
def images(tmp_path):
    folder = tmp_path / "images"
    folder.mkdir()
    rng = np.random.default_rng(0)
    for name, shape in (("large", (90, 70, 3)), ("gray", (33, 61))):
        Image.fromarray(rng.integers(0, 256, shape, np.uint8)).save(folder / f"{name}.png")
    (folder / "text.jpg").write_text("no image")
    return folder


def test_masks_overlays_a_table_and_a_picture(run, images, tmp_path, capsys):
    out = tmp_path / "out"
    segment.main(["--run", str(run), "--output", str(out), str(images)])
    printed = capsys.readouterr().out
    assert "2 images; see" in printed and "text.jpg: its content is not an image" in printed
    assert (out / "segmentations.png").is_file()
    with Image.open(out / "masks" / "0001-large.png") as mask:
        assert mask.mode == "P" and mask.size == (70, 90)
        counts = np.bincount(np.asarray(mask).ravel(), minlength=4)
    with Image.open(out / "overlays" / "0001-large.png") as overlay:
        assert overlay.size == (70, 90)
    with (out / "classes.csv").open() as file:
        rows = [row for row in csv.DictReader(file) if row["mask"] == "0001-large.png"]
    assert {row["class"]: int(row["pixels"]) for row in rows} == {
        name: count for name, count in zip(CLASSES, counts, strict=True) if count
    }
    assert sum(float(row["share"]) for row in rows) == pytest.approx(1)


def test_the_classes_are_those_of_the_whole_image_at_its_own_scale(run):
    network = as_segmenter(load_any_network(NetworkConfig(run=str(run))))
    image = np.random.default_rng(1).integers(0, 256, (48, 36, 3), np.uint8)
    inputs = replace(network.preprocessing, resize=0, crop=0)(image)
    logits = network.model.apply(network.variables, inputs[None])
    expected = np.argmax(logits[0], axis=-1)
    assert np.array_equal(segment.make_segment(network, own_size=True)(image), expected)
    # 48x36 pixels are seen as 43x32, which cover the 32x32 of the training.
    small = np.asarray(Image.fromarray(image).resize((32, 42), Image.Resampling.BILINEAR))
    seen = segment.make_segment(network)(image)
    assert seen.shape == (48, 36)
    again = segment.make_segment(network, own_size=True)(small)
    resized = Image.fromarray(again).resize((36, 48), Image.Resampling.NEAREST)
    assert np.array_equal(seen, np.asarray(resized))


def test_tiles_leave_no_seams(run):
    network = as_segmenter(load_any_network(NetworkConfig(run=str(run))))
    image = np.random.default_rng(2).integers(0, 256, (70, 90, 3), np.uint8)
    whole = segment.make_segment(network, own_size=True)(image)
    tiled = segment.make_segment(network, own_size=True, tile=48, margin=12)(image)
    # The image's own border is mirrored for tiles and padded with zeros for the whole.
    inside = (slice(12, -12), slice(12, -12))
    assert np.array_equal(whole[inside], tiled[inside])
    with pytest.raises(ConfigError, match="the step must be between 1 and"):
        segment.make_segment(network, own_size=True, tile=20, margin=12)(image)


def test_a_valid_unet_gives_the_class_of_every_pixel():
    model = create_model("unet", border="valid", widths=(2, 4), num_classes=3)
    variables = jax.jit(model.init)(jax.random.key(0), jnp.zeros((1, 28, 28, 3)))
    preprocessing = Preprocessing(0, (28, 28), (0.5,) * 3, (0.25,) * 3)
    network = Network(model, dict(variables), preprocessing, ("a", "b", "c"), "")
    image = np.random.default_rng(3).integers(0, 256, (44, 44, 3), np.uint8)
    mask = segment.make_segment(network, own_size=True)(image)
    assert mask.shape == (44, 44)
    inputs = replace(preprocessing, crop=0)(image)
    middle = np.argmax(model.apply(variables, inputs[None])[0], axis=-1)
    assert np.array_equal(mask[8:-8, 8:-8], middle)


@pytest.mark.parametrize("tool", [export, features, look_inside, predict])
def test_tools_for_classifiers_name_segment(run, tool, images, capsys):
    words = [] if tool is export else [str(images / "gray.png")]
    with pytest.raises(SystemExit):
        tool.main(["--run", str(run), *words])
    shown = " ".join(capsys.readouterr().out.split())
    assert "the class of every pixel; python -m experiments.segment is for those" in shown


def test_a_classifier_is_refused(tmp_path, capsys):
    make_run(tmp_path / "run", DataConfig(name="digits"))
    with pytest.raises(SystemExit):
        segment.main(["--run", str(tmp_path / "run"), "x.png"])
    shown = " ".join(capsys.readouterr().out.split())
    assert "expected a network for segmentation, got a run of the task Classification" in shown


def test_a_run_of_segmentation_loads_without_its_data(run):
    network = load_run(run)
    assert isinstance(network.task, Segmentation)
    assert network.class_names == network.task.class_names == CLASSES


def test_evaluate_gives_the_scores_of_each_convention(run, tmp_path, capsys):
    rows = evaluate.main(["--run", str(run), "--output", str(tmp_path / "out")])
    printed = capsys.readouterr().out
    assert "one matrix" in printed and "triangle" in printed
    scores = {row["convention"]: row["mean_iou"] for row in rows}
    experiment = unet.build(replace(unet.SMOKE, norm="none"))
    split, network = experiment.dataset.splits["test"], load_run(run)
    outputs = network.model.apply(
        network.variables, np.stack([network.preprocessing(one["image"]) for one in split])
    )
    counts = pixel_counts(outputs, jnp.asarray(split.arrays["mask"], jnp.int32))
    whole = np.asarray(counts)
    assert scores["one matrix"] == pytest.approx(segmentation_scores(whole)["mean_iou"])
    assert json.loads((tmp_path / "out/evaluation.json").read_text())["confusion"] == whole.tolist()
    for name in ("scores.csv", "classes.csv", "confusion.png"):
        assert (tmp_path / "out" / name).is_file()
