import csv
import json
import os
import shutil
from itertools import chain
from pathlib import Path

import jax
import numpy as np
import pytest
from PIL import Image

from cnn_jax import pretrained
from cnn_jax.models import create_model
from experiments.tools.networks import NetworkConfig, load_network
from experiments.tools.predict import main, predict

NAMES = ("cat", "dog", "[bold]bird")
NETWORK = ["--model", "cifar_resnet20", "--image-size", "32"]


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    """A state dict of random weights for three classes, and the names of the classes."""
    numpy = pytest.importorskip("safetensors.numpy")
    folder = tmp_path_factory.mktemp("weights")
    model = create_model("cifar_resnet20", num_classes=3)
    variables = jax.jit(model.init)(jax.random.key(0), np.zeros((1, 32, 32, 3), np.float32))
    numpy.save_file(pretrained.to_torch(model, variables), folder / "mine.safetensors")
    (folder / "names.txt").write_text("\n".join(NAMES) + "\n\n")
    return folder / "mine.safetensors", folder / "names.txt"


@pytest.fixture
def images(tmp_path):
    """Five images of different sizes and a text."""
    folder = tmp_path / "images"
    folder.mkdir()
    rng = np.random.default_rng(0)
    for number in range(5):
        pixels = rng.integers(0, 256, (40 + number, 50, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(folder / f"{number}.png")
    (folder / "text.jpg").write_text("no image")
    return folder


def call(checkpoint, images, tmp_path, *flags):
    file, names = map(str, checkpoint)
    words = [*NETWORK, "--checkpoint", file, "--classes", names, "--output", str(tmp_path / "out")]
    main([*words, *flags, *map(str, images)])


def test_images_get_a_table_files_and_a_picture(checkpoint, images, tmp_path, capsys):
    call(checkpoint, [images, "missing.png"], tmp_path, "--top", "2", "--batch-size", "2")
    printed = capsys.readouterr().out
    assert "5 images" in printed and "[bold]bird" in printed
    assert printed.splitlines()[-3] == "2 files could not be read:"
    assert "text.jpg: its content is not an image" in printed
    assert printed.endswith("missing.png: No such file or directory\n")
    out = tmp_path / "out"
    with (out / "predictions.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 5 * 2
    assert [row["rank"] for row in rows[:3]] == ["1", "2", "1"]
    assert all(row["class"] == NAMES[int(row["label"])] for row in rows)
    written = json.loads((out / "predictions.json").read_text())
    assert [one["path"] for one in written["predictions"]] == [row["path"] for row in rows]
    assert written["network"] == "cifar_resnet20, mine.safetensors"
    assert [one["path"] for one in written["unreadable"]][1] == "missing.png"
    with Image.open(out / "predictions.png") as picture:
        assert picture.size[0] > 500


def test_probabilities_are_those_of_each_image_alone(checkpoint, images):
    file, names = map(str, checkpoint)
    config = NetworkConfig("cifar_resnet20", checkpoint=file, classes=names, image_size=32)
    network = load_network(config)
    paths = sorted(images.glob("*.*"))
    answers, bad = predict(network, paths, top=5, batch_size=4)
    assert [path.name for path, _ in bad] == ["text.jpg"]
    assert [answer.path for answer in answers] == paths[:-1]
    for answer in answers:
        image = np.asarray(Image.open(answer.path))
        inputs = network.preprocessing(image)
        assert inputs.shape == (32, 32, 3)
        logits = network.model.apply(network.variables, inputs[None])[0]
        expected = np.asarray(jax.nn.softmax(logits))
        assert sorted(answer.labels) == [0, 1, 2]  # there are only three
        assert list(answer.probabilities) == sorted(answer.probabilities, reverse=True)
        np.testing.assert_allclose(answer.probabilities, expected[list(answer.labels)], rtol=1e-4)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ([], "which network? Give --model NAME"),
        (["--model", "resnet18", "--run", "runs/x"], "got both"),
        (["--run", "nowhere"], "there is no run in nowhere"),
        (["--model", "resnot50"], "did you mean"),
        ([*NETWORK, "--checkpoint", "gone.safetensors"], "there is no file gone.safetensors"),
        ([*NETWORK, "--checkpoint", "x", "--classes", "gone.txt"], "class names in gone.txt: "),
        (["--model", "resnet18", "--top", "0"], "top must be at least 1, got 0"),
        (["--model", "resnet18", "--batch-size", "0"], "batch_size must be at least 1, got 0"),
    ],
)
def test_what_is_wrong_ends_with_its_message(words, message, images, capsys):
    with pytest.raises(SystemExit) as stop:
        main([*words, str(images)])
    assert stop.value.code == 2
    printed = capsys.readouterr().out
    assert printed.startswith("error: ") and message in printed


def test_earlier_results_stay(checkpoint, images, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    file, names = map(str, checkpoint)
    words = [*NETWORK, "--checkpoint", file, "--classes", names, str(images / "0.png")]
    main(words)
    first = Path("runs/predict/cifar_resnet20")
    (first / "predictions.csv").write_text("mine")
    main(words)
    assert (first / "predictions.csv").read_text() == "mine"
    second = first.with_name("cifar_resnet20-2")
    expected = (second / "predictions.csv").read_bytes()
    capsys.readouterr()
    with pytest.raises(SystemExit):
        main([*words, "--output", str(first)])
    assert f"{first} holds files already; give another --output, or --ov" in capsys.readouterr().out
    assert (first / "predictions.csv").read_text() == "mine"
    main([*words, "--output", str(first), "--overwrite"])
    assert (first / "predictions.csv").read_bytes() == expected
    assert not first.with_name("cifar_resnet20-3").exists()


def test_any_file_name_is_predicted_and_shown_escaped(
    checkpoint, images, tmp_path, capsys, monkeypatch
):
    # Short paths are not broken in the table.
    monkeypatch.chdir(images.parent)
    images = Path(images.name)
    steering, no_utf8 = images / "\x1b[31mred.png", images / "caf\udce9.png"
    (images / "0.png").rename(steering)
    (images / "1.png").rename(no_utf8)
    (images / "text.jpg").rename(images / "\x1b]0;title\x07.jpg")
    call(checkpoint, [images], tmp_path)
    printed = capsys.readouterr().out
    assert "\x1b[31m" not in printed and "\x1b]0" not in printed and "\x07" not in printed
    assert "\\x1b[31mred.png" in printed and "caf\\udce9.png" in printed
    assert "\\x1b]0;title\\x07.jpg: its content" in printed
    # The files keep the names as they are.
    lines = (tmp_path / "out" / "predictions.csv").read_bytes().splitlines()
    assert any(line.startswith(os.fsencode(no_utf8)) for line in lines)
    written = json.loads((tmp_path / "out" / "predictions.json").read_text())
    assert {str(steering), str(no_utf8)} <= {one["path"] for one in written["predictions"]}


def test_a_misspelled_flag_is_given_the_nearest_name(capsys):
    with pytest.raises(SystemExit):
        main(["--modle", "resnet50", "photo.png"])
    captured = capsys.readouterr()
    assert "Perhaps you meant" in captured.err and "--model STR" in captured.err


def test_no_good_image_is_an_error(checkpoint, images, tmp_path, capsys):
    with pytest.raises(SystemExit) as stop:
        call(checkpoint, [images / "text.jpg"], tmp_path)
    assert stop.value.code == 2
    assert "none of 1 file could be read as an image" in capsys.readouterr().out
    assert not (tmp_path / "out").exists()


def test_classes_that_do_not_fit_are_named(checkpoint, images, capsys):
    with pytest.raises(SystemExit):
        main([*NETWORK, "--checkpoint", str(checkpoint[0]), "--num-classes", "7", str(images)])
    printed = capsys.readouterr().out
    assert "is (3, 64), expected (7, 64)" in printed and "--num-classes" in printed


def test_a_place_that_cannot_be_written_is_named(checkpoint, images, tmp_path, capsys):
    (tmp_path / "out").write_text("a file")
    with pytest.raises(SystemExit):
        call(checkpoint, [images], tmp_path)
    assert "give another place with --output" in capsys.readouterr().out


def test_a_run_needs_its_data_no_more(start, images, tmp_path, capsys):
    data = tmp_path / "data"
    for split, count in (("train", 8), ("val", 3)):
        for number, name in enumerate(("ant", "bee", "cow")):
            (data / split / name).mkdir(parents=True)
            for index in range(count):
                pixels = np.full((20 + index, 24, 3), 80 * number, np.uint8)
                Image.fromarray(pixels).save(data / split / name / f"{index}.png")
    short = ["--training.duration", "2 steps", "--training.batch-size", "8"]
    command = ["--smoke", "--data.name", str(data), "--data.image-size", "16", *short]
    start("resnet_cifar", *command, "--name", "mine")
    run = tmp_path / "resnet_cifar" / "mine"

    def predicted(run):
        network = load_network(NetworkConfig(run=str(run)))
        answers, _ = predict(network, sorted(images.glob("*.png")), top=3, batch_size=5)
        pixels = network.preprocessing(np.asarray(Image.open(images / "0.png")))
        logits = np.asarray(jax.jit(network.model.apply)(network.variables, pixels[None]))
        named = [[network.class_names[label] for label in answer.labels] for answer in answers]
        return named, [answer.probabilities for answer in answers], logits.tobytes()

    def refused():
        capsys.readouterr()
        with pytest.raises(SystemExit):
            start("resnet_cifar", *command, "--name", "mine")
        return " ".join(capsys.readouterr().out.split())

    first = predicted(run)
    assert all(sorted(names) == ["ant", "bee", "cow"] for names in first[0])
    for split in ("train", "val"):
        (data / split / "bee").rename(data / split / "wasp")
    assert predicted(run) == first
    assert "there ['ant', 'bee', 'cow'], asked ['ant', 'cow', 'wasp']" in refused()
    for split in ("train", "val"):
        (data / split / "wasp").rename(data / split / "bee")
        Image.new("RGB", (30, 30), "red").save(data / split / "cow" / "new.png")
    assert predicted(run) == first
    assert "data.examples.train: there 24, asked 25" in refused()
    shutil.rmtree(data)
    assert predicted(run) == first
    assert predicted(run.rename(tmp_path / "elsewhere")) == first
    main(["--run", str(tmp_path / "elsewhere"), "--output", str(tmp_path / "out"), str(images)])
    written = json.loads((tmp_path / "out" / "predictions.json").read_text())
    assert written["network"] == "resnet_cifar/elsewhere, data, 2 steps"
    assert [one["class"] for one in written["predictions"]] == list(chain.from_iterable(first[0]))
