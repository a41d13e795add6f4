import csv
import json
import shutil
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image
from safetensors.numpy import save_file
from sklearn.metrics import classification_report

from cnn_jax import load_run, pretrained
from cnn_jax.data import DataConfig
from cnn_jax.durable import read_record, write_kept_record
from cnn_jax.errors import ConfigError
from cnn_jax.models import create_model
from experiments.tools import evaluate
from experiments.tools.class_matching import Matching, match_classes
from experiments.tools.image_files import read_images
from experiments.tools.networks import NetworkConfig, load_network
from tests.experiments.small_run import make_run


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Seven images of several sizes in two classes, and a network for two classes."""
    root = tmp_path_factory.mktemp("evaluate")
    generator = np.random.default_rng(0)
    for split, count in (("train", 1), ("val", 4)):
        for name in ("a", "b"):
            (root / "data" / split / name).mkdir(parents=True)
            for number in range(count - (split == "val" and name == "b")):
                pixels = generator.integers(0, 256, (20 + number, 33, 3), dtype=np.uint8)
                Image.fromarray(pixels).save(root / "data" / split / name / f"{number}.png")
    model = create_model("cifar_resnet20", num_classes=2)
    variables = jax.jit(model.init)(jax.random.key(0), jnp.zeros((1, 16, 16, 3)))
    save_file(pretrained.to_torch(model, variables), root / "mine.safetensors")
    return root


def words(folder, *more):
    network = ["--model", "cifar_resnet20", "--checkpoint", str(folder / "mine.safetensors")]
    data = ["--data.name", str(folder / "data"), "--data.validation", "val"]
    words = [*network, "--num-classes", "2", "--image-size", "16", *data, *more]
    return words if "--output" in more else [*words, "--output", str(folder / "out"), "--overwrite"]


def test_accuracy_and_loss_are_those_of_each_image_by_itself(folder):
    (row,) = evaluate.main(words(folder, "--batch-size", "4"))
    config = NetworkConfig(
        model="cifar_resnet20",
        checkpoint=str(folder / "mine.safetensors"),
        num_classes=2,
        image_size=16,
    )
    network = load_network(config)
    good, bad = read_images(sorted((folder / "data" / "val").rglob("*.png")))
    assert len(good) == 7 and not bad
    inputs = np.stack([network.preprocessing(image) for _, image in good])
    probabilities = jax.nn.softmax(jax.jit(network.model.apply)(network.variables, inputs))
    labels = np.array([path.parent.name == "b" for path, _ in good], int)
    right = np.asarray(probabilities)[np.arange(7), labels]
    assert row.examples == 7
    assert row.loss == pytest.approx(-np.log(right).mean(), rel=1e-4)
    assert row.top1 == pytest.approx(100 * np.mean(right > 0.5))
    assert row.top5 == 100
    assert row.published1 is None


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (["--num-classes", "3"], "misshapen"),
        (["--split", "test"], "there is no split for test, only"),
        (["--models", "resnet18"], "not both"),
        (["--batch-size", "0"], "batch_size must be at least 1, got 0"),
        (
            ["--data.name", "digits", "--data.validation", ""],
            "2 classes without names, and hand",
        ),
    ],
)
def test_what_cannot_be_is_said(folder, capsys, more, message):
    assert message in said([*words(folder), *more], capsys)


def scores(labels, predicted, names):
    """scikit-learn's, by class."""
    report = classification_report(
        labels, predicted, labels=range(len(names)), target_names=names, output_dict=True,
        zero_division=0,
    )  # fmt: skip
    return [
        {"class": name, "support": int(report[name]["support"])}
        | {short: report[name][long] for short, long in COLUMNS.items()}
        for name in names
    ]


COLUMNS = {"precision": "precision", "recall": "recall", "f1": "f1-score"}


@pytest.fixture(scope="module")
def digits_run(tmp_path_factory):
    """A run on the stand-in for a data set that was not found, and its experiment."""
    directory = tmp_path_factory.mktemp("runs") / "mine"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("cnn_jax.data.load.within_reach", lambda *_: False)
        nowhere = str(directory.parent / "nowhere")
        return directory, make_run(directory, DataConfig(dir=nowhere))


def test_a_run_is_evaluated_on_its_own_held_out_split(digits_run, tmp_path, capsys):
    directory, experiment = digits_run
    (row,) = evaluate.main(["--run", str(directory), "--output", str(tmp_path / "out")])
    network = load_run(directory)
    arrays = experiment.dataset.splits["test"].arrays
    pixels = arrays["image"].astype(np.float32) / 255
    mean, std = network.preprocessing.mean[0], network.preprocessing.std[0]
    logits = network.model.apply(network.variables, (pixels - mean) / std)
    predicted = np.argmax(logits, axis=-1)
    assert row.examples == len(arrays["label"])
    assert row.top1 == pytest.approx(100 * np.mean(predicted == arrays["label"]))
    expected = scores(arrays["label"], predicted, list("0123456789"))
    for found, wanted in zip(row.classes, expected, strict=True):
        assert found == pytest.approx(wanted)
    printed = capsys.readouterr().out
    assert "handwritten digits 8x8, test, " in printed and "precision" in printed
    written = json.loads((tmp_path / "out" / "evaluation.json").read_text())
    assert written["networks"][0]["classes"] == row.classes
    assert np.trace(written["networks"][0]["confusion"]) == np.sum(predicted == arrays["label"])
    with (tmp_path / "out" / "classes.csv").open(newline="") as file:
        lines = list(csv.DictReader(file))
    assert [line["class"] for line in lines] == list("0123456789")
    assert [int(line["support"]) for line in lines] == [one["support"] for one in expected]
    assert (tmp_path / "out" / "networks.csv").exists()
    with Image.open(tmp_path / "out" / "confusion.png") as figure:
        assert figure.size[0] > 500


@pytest.fixture(scope="module")
def colours(tmp_path_factory):
    """A run on three classes, the folder of its data, and where pictures are drawn."""
    root = tmp_path_factory.mktemp("colours")

    def draw(name, shades):
        for shade, tone in shades.items():
            for split, count in (("train", 4), ("val", 3)):
                (root / name / split / shade).mkdir(parents=True)
                for number in range(count):
                    pixels = np.full((8, 8, 3), tone, np.uint8) + number
                    Image.fromarray(pixels).save(root / name / split / shade / f"{number}.png")
        return root / name

    data = draw("data", {"black": 0, "gray": 120, "white": 240})
    make_run(root / "run", DataConfig(name=str(data), image_size=8))
    return root / "run", draw


def accuracy_over(run, labels, split_folder):
    """By hand: the share of pictures whose class has the largest logit among these classes."""
    network = load_run(run)
    right = []
    for path in sorted(split_folder.rglob("*.png")):
        inputs = network.preprocessing(np.asarray(Image.open(path)))
        logits = np.asarray(network.model.apply(network.variables, inputs[None]))[0]
        best = max(labels, key=lambda name: logits[network.class_names.index(name)])
        right.append(best == path.parent.name)
    return 100 * np.mean(right)


def test_classes_are_matched_by_name(colours, tmp_path, capsys):
    run, draw = colours
    # A part of the classes, whose order and number are others.
    part = draw("part", {"gray": 120, "white": 240})
    words = ["--run", str(run), "--output", str(tmp_path), "--overwrite", "--data.name"]
    (row,) = evaluate.main([*words, str(part)])
    assert row.class_names == ("gray", "white") and row.examples == 6
    assert row.top1 == pytest.approx(accuracy_over(run, row.class_names, part / "val"))
    printed = " ".join(capsys.readouterr().out.split())
    assert "evaluated over the 2 of 3 classes" in printed and "missing: black" in printed
    # As many classes, of which one has another name.
    other = draw("other", {"black": 0, "grey": 120, "white": 240})
    message = said([*words, str(other)], capsys)
    assert "has 1 class that resnet_cifar/run" in message and "does not know: grey;" in message
    assert "that the data set lacks: gray." in message


def test_names_that_say_nothing_are_matched_by_their_order():
    def match(known, asked):
        return match_classes(known, asked, network="net", data="data")

    numbered = match(("class 0", "class 1"), ("a", "b"))
    assert numbered.outputs == (0, 1) and numbered.class_names == ("a", "b")
    assert "matched by their order" in numbered.note
    assert match(("a", "b"), ("0", "1")).class_names == ("a", "b")
    assert match(("n01440764", "n01443537"), ("goldfish",)).outputs == (1,)  # WordNet's names
    assert match(("0", "1", "2"), ("0", "2")).outputs == (0, 2)
    assert match(("a", "b"), ("b", "a")) == Matching((1, 0), ("b", "a"))
    with pytest.raises(ConfigError, match="2 classes without names, and data has 3: give"):
        match(("class 0", "class 1"), ("a", "b", "c"))
    with pytest.raises(ConfigError, match="several classes of net have the name a"):
        match(("a", "a", "b"), ("a", "b"))
    with pytest.raises(ConfigError, match="data has no classes"):
        match(("a",), ())


def test_arrays_are_resized_for_the_network(colours, tmp_path):
    run, _ = colours
    images = np.random.default_rng(0).integers(0, 256, (6, 12, 20, 1), dtype=np.uint8)
    labels = np.array([0, 1, 2, 0, 1, 2])
    arrays = {"train_images": images, "train_labels": labels, "class_names": ["white", "gray"]}
    arrays |= {"val_images": images, "val_labels": labels, "class_names": NAMES}
    np.savez(tmp_path / "mine.npz", **arrays)
    words = ["--run", str(run), "--data.name", str(tmp_path / "mine.npz")]
    (row,) = evaluate.main([*words, "--output", str(tmp_path / "out")])
    network = load_run(run)
    seen = np.stack([network.preprocessing(np.repeat(image, 3, -1)) for image in images])
    logits = np.asarray(network.model.apply(network.variables, seen))
    columns = [network.class_names.index(name) for name in NAMES]
    assert row.top1 == pytest.approx(100 * np.mean(logits[:, columns].argmax(-1) == labels))


NAMES = ["white", "black", "gray"]


def test_data_that_have_changed_are_said(colours, tmp_path, capsys):
    run, draw = colours
    copy = Path(shutil.copytree(run, tmp_path / "copy"))
    data = draw("changed", {"black": 0, "gray": 120, "white": 240})
    config = read_record(copy / "config.json")
    config["config"]["data"]["name"] = str(data)
    write_kept_record(copy / "config.json", config)
    (data / "val" / "black" / "0.png").unlink()
    evaluate.main(["--run", str(copy), "--output", str(tmp_path / "out")])
    printed = " ".join(capsys.readouterr().out.split())
    assert "validation has 8 examples, and had 9 when the run was made" in printed
    shutil.rmtree(data)
    message = said(["--run", str(copy), "--output", str(tmp_path / "other")], capsys)
    assert "that the run was trained on; name another one with --data.name" in message


def test_a_folder_with_one_split_will_do(colours, tmp_path):
    run, draw = colours
    data = draw("one", {"black": 0, "gray": 120, "white": 240})
    shutil.rmtree(data / "train")
    words = ["--run", str(run), "--output", str(tmp_path / "out"), "--overwrite", "--data.name"]
    (row,) = evaluate.main([*words, str(data)])
    assert row.top1 == pytest.approx(accuracy_over(run, row.class_names, data / "val"))
    (data / "val").rename(data / "test")
    (again,) = evaluate.main([*words, str(data)])
    assert again.top1 == row.top1 and again.examples == 9


def test_models_without_weights_are_named(capsys):
    assert "no public weights for 'resnet1'" in said(["--models", "resnet1"], capsys)


def said(words, capsys):
    """What is printed by a command that ends with an error."""
    with pytest.raises(SystemExit) as exit:
        evaluate.main(words)
    assert exit.value.code == 2
    return " ".join(capsys.readouterr().out.split())
