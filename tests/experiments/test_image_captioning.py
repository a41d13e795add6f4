"""The experiment `image_captioning`, and captions of a user's own images."""

import csv
import json
from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image

from cnn_jax import load_run, pretrained
from cnn_jax.data import DataConfig
from cnn_jax.data.captions import join_words
from cnn_jax.errors import ConfigError
from cnn_jax.models import create_model
from cnn_jax.pretrained import Network, Preprocessing
from cnn_jax.visual.captions import WRONG
from cnn_jax.visual.style import GRAY
from experiments import image_captioning
from experiments.tools import caption
from tests.experiments.small_run import make_run, save_run


@pytest.fixture(scope="module")
def study():
    return image_captioning.build(replace(image_captioning.SMOKE, image="both"))


@pytest.fixture(scope="module")
def run(tmp_path_factory, study):
    directory = tmp_path_factory.mktemp("runs") / "image_captioning" / "one"
    save_run(directory, "image_captioning", image_captioning.SMOKE, study["seen"])
    return directory


@pytest.fixture
def images(tmp_path):
    """Images of different sizes and a text."""
    folder = tmp_path / "images"
    folder.mkdir()
    rng = np.random.default_rng(0)
    for number in range(3):
        pixels = rng.integers(0, 256, (40 + number, 50, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(folder / f"{number}.png")
    (folder / "text.jpg").write_text("no image")
    return folder


def test_both_networks_have_the_same_data_and_words(study):
    seen, withheld = study["seen"], study["withheld"]
    assert seen.dataset is withheld.dataset and seen.task.words == seen.dataset.class_names
    assert seen.task.model.encoder == "simple_cnn" and withheld.task.model.encoder is None
    assert seen.task.length == 12
    assert seen.task.metrics[-4:] == tuple(
        f"right/{kind}" for kind in ("shape", "colour", "size", "relation")
    )


def zeros_of(one):
    """Variables of an experiment's network, all 0."""
    spec = one.dataset.spec
    params, state = jax.eval_shape(lambda key: one.task.init(key, spec), jax.random.key(0))
    return jax.tree.map(lambda leaf: jnp.zeros(leaf.shape), {"params": params, **state})


@pytest.mark.parametrize(("cell", "gates"), [("lstm", 4), ("gru", 3), ("rnn", 1)])
def test_the_gate_that_keeps_the_state_begins_open(cell, gates, study, monkeypatch):
    # Scenes are drawn once for all tests.
    monkeypatch.setattr(image_captioning, "load_captions", lambda data: study["seen"].dataset)
    config = replace(image_captioning.SMOKE, image="withheld", cell=cell, remember=1.5)
    one = image_captioning.build(config)
    body = one.initialize(zeros_of(one), {})["params"]["language"]["body"]["layer0"]
    expected = np.zeros((gates, config.features))
    if cell != "rnn":
        expected[1] = 1.5
    np.testing.assert_array_equal(body["input_bias"], expected.ravel())
    assert all(not np.any(leaf) for name, leaf in body.items() if name != "input_bias")


def test_the_encoder_begins_with_the_weights_of_a_classifier(study, monkeypatch):
    monkeypatch.setattr(image_captioning, "load_captions", lambda data: study["seen"].dataset)
    model = create_model("simple_cnn", num_classes=5)
    known = jax.eval_shape(model.init, jax.random.key(0), np.zeros((1, 16, 16, 3), np.float32))
    known = jax.tree.map(lambda one: np.full(one.shape, 0.5, one.dtype), known)
    source = Network(model, known, Preprocessing(16, 16), (), "")
    monkeypatch.setattr(pretrained, "load", lambda name, weights: source)
    config = replace(image_captioning.SMOKE, image="both", weights="default")
    built = image_captioning.build(config)
    fresh = zeros_of(built["seen"])
    changed = built["seen"].initialize(fresh, {})
    assert jax.tree.map(np.shape, changed) == jax.tree.map(np.shape, fresh)
    for name in ("params", "batch_stats"):
        leaves = jax.tree.leaves(changed[name]["backbone"]["body"])
        assert leaves and all(np.all(leaf == 0.5) for leaf in leaves)
    fresh = zeros_of(built["withheld"])
    changed = built["withheld"].initialize(fresh, {})
    assert jax.tree.structure(changed) == jax.tree.structure(fresh)


def test_the_figure_marks_wrong_words(study):
    split, names = study["seen"].dataset.splits["test"], study["seen"].dataset.class_names
    shown = [split[index]["tokens"] for index in range(len(split))]

    class Done:
        experiment, held_out = study["seen"], "test"

        @staticmethod
        def outputs(name):
            """The first caption of each image, after a word that does not begin any."""
            begins = np.full((len(shown), 1), names.index("that"))
            return {"tokens": np.concatenate([begins, np.stack(shown)[:, 0, 1:]], axis=1)}

    figure = image_captioning.figures()["captions"](Done)
    assert sum(len(axes.get_images()) for axes in figure.axes) == image_captioning.SHOWN
    texts = {color: [] for color in (WRONG, GRAY)}
    for text in figure.texts:
        texts.setdefault(text.get_color(), []).append(text.get_text())
    assert texts[WRONG] == ["that"] * image_captioning.SHOWN
    first = [join_words(tokens[0], names) for tokens in shown[: image_captioning.SHOWN]]
    assert " ".join(texts[GRAY]) == " ".join(first)


def test_the_comparison_shows_losses_and_right_words(study):
    class Done:
        held_out = "test"
        rows = [{"step": step, "split": "validation", "loss": 3 / step} for step in (1, 2)]  # noqa: RUF012

        def __init__(self, one):
            self.experiment, self.metrics = one, one.task.metrics
            self.summary = {"test": dict.fromkeys(one.task.metrics, 0.5)}

    found = image_captioning.compare({name: Done(one) for name, one in study.items()})
    assert set(found) == {"losses", "right_words"}
    labels = [text.get_text() for text in found["right_words"].axes[0].get_xticklabels()]
    assert labels == ["exact", "shape", "colour", "size", "relation"]


def test_captions_of_own_images(run, images, tmp_path, capsys):
    out = tmp_path / "out"
    caption.main(["--run", str(run), "--output", str(out), "--beam", "3", str(images)])
    printed = capsys.readouterr().out
    assert "3 images; see" in printed and "text.jpg: its content is not an image" in printed
    with (out / "captions.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert json.loads((out / "captions.json").read_text())["captions"][0]["text"] == rows[0]["text"]
    network = load_run(run)
    task = replace(network.task, beam=3)
    params = network.variables["params"]
    state = {name: value for name, value in network.variables.items() if name != "params"}
    assert len(rows) == 3
    for row in rows:
        inputs = network.preprocessing(np.asarray(Image.open(row["path"])))[None]
        expected = jax.jit(task.predict)(params, state, {"image": inputs})
        assert row["text"] == join_words(expected["tokens"][0].tolist(), network.class_names)
        assert float(row["log_probability"]) == pytest.approx(
            float(expected["log_probability"][0]), rel=1e-4
        )
    with Image.open(out / "captions.png") as picture:
        assert picture.size[0] > 500


def test_other_runs_and_numbers_are_refused(run, images, tmp_path, capsys):
    other = tmp_path / "resnet_cifar" / "one"
    make_run(other, DataConfig(name="digits"))
    for words, message in (
        (["--run", str(other)], "got a run of the task Classification; name a run of image_capt"),
        (["--run", str(run), "--beam", "-1"], "beam must be at least 0, got -1"),
    ):
        with pytest.raises(SystemExit) as stop:
            caption.main([*words, str(images)])
        assert stop.value.code == 2
        assert message in " ".join(capsys.readouterr().out.split())


def test_another_vocabulary_is_not_that_of_the_network(study):
    task = study["seen"].task
    other = replace(study["seen"].dataset, class_names=(*task.words, "dog"))
    with pytest.raises(ConfigError, match=r"23 words, such as 'dog': take the captions"):
        task.check(other)
