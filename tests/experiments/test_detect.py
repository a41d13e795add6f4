"""The objects in a user's own images, and what evaluations say of networks that give boxes."""

import csv
import json
from dataclasses import dataclass, replace

import jax
import numpy as np
import pytest
from PIL import Image
from rich.console import Console

from cnn_jax import load_run
from cnn_jax.data import ArraySplit, DataConfig
from cnn_jax.data.rasters import decompressed, run_length_mask
from cnn_jax.errors import ConfigError
from cnn_jax.pretrained import Network, OnCanvas
from cnn_jax.tasks import Detections, Truths, coco_scores, voc_scores
from cnn_jax.tasks.detection import scored_images
from experiments import detection, localization
from experiments.tools import detect, evaluate, image_files, predict, segment
from experiments.tools.detect import results_of
from experiments.tools.detector import Found, make_detect, make_detector
from experiments.tools.evaluate_boxes import (
    FoundObjects,
    class_rows,
    find_objects,
    localization_rows,
    score_rows,
)
from experiments.tools.networks import NetworkConfig, as_detector, load_any_network
from tests.experiments.small_run import make_run, save_run


@pytest.fixture(scope="module")
def localizer(tmp_path_factory):
    """A localizer of scenes of shapes, 32x32."""
    directory = tmp_path_factory.mktemp("runs") / "localization" / "one"
    config = localization.SMOKE
    save_run(directory, "localization", config, localization.build(config))
    return directory


@pytest.fixture(scope="module")
def detector(tmp_path_factory):
    """A RetinaNet for scenes of shapes, 32x32."""
    directory = tmp_path_factory.mktemp("runs") / "detection" / "one"
    save_run(directory, "detection", detection.SMOKE, detection.build(detection.SMOKE))
    return directory


def drawn(*shape):
    return np.random.default_rng(0).integers(0, 256, shape, np.uint8)


@pytest.fixture
def images(tmp_path):
    """Images of all kinds, and files that are none."""
    folder = tmp_path / "images"
    folder.mkdir()
    Image.fromarray(drawn(50, 90, 3)).save(folder / "a wide.png")
    Image.fromarray(drawn(33, 21)).save(folder / "gray.png")
    Image.fromarray(drawn(40, 40, 3)).convert("P").save(folder / "palette.gif")
    Image.fromarray(drawn(1, 1, 3)).save(folder / "pixel.png")
    turned = Image.fromarray(drawn(40, 60, 3))
    exif = turned.getexif()
    exif[274] = 6  # viewers turn it by 90 degrees
    turned.save(folder / "turned.jpg", exif=exif)
    (folder / "cut.png").write_bytes((folder / "a wide.png").read_bytes()[:300])
    (folder / "text.jpg").write_text("no image")
    return folder


def rows_of(path):
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


@dataclass(frozen=True)
class Given:
    """Boxes that are shares of the image, wherever it is on the canvas; the last one is padding."""

    boxes: tuple = ((0.25, 0.5, 0.75, 1.0), (0.5, 0.0, 1.5, 0.5), (1.0, 0.0, 1.2, 1.0), (0,) * 4)
    scores: tuple = (0.9, 0.6, 0.55, 0.0)

    def predict(self, params, model_state, batch):
        sides = jax.numpy.tile(batch["size"][:, ::-1], (1, 2))
        number = len(sides)
        return {
            "boxes": jax.numpy.array([self.boxes]) * sides[:, None],
            "scores": jax.numpy.tile(jax.numpy.array([self.scores]), (number, 1)),
            "box_labels": jax.numpy.tile(jax.numpy.array([[2, 0, 1, -1]]), (number, 1)),
        }


@pytest.mark.parametrize("size", [(50, 90), (90, 50), (1, 1), (300, 4), (24, 32)])
def test_boxes_are_carried_back_to_images_of_any_size(size):
    network = Network(None, {"params": {}}, OnCanvas((24, 32)), ("a", "b", "c"), "", Given())
    found = make_detect(network, 0.5)(drawn(*size, 3))
    height, width = size
    sides = np.array([width, height] * 2)
    # What lies beyond the image is cut off, or left out.
    expected = np.array([(0.25, 0.5, 0.75, 1.0), (0.5, 0.0, 1.0, 0.5)]) * sides
    np.testing.assert_allclose(found.boxes, expected, rtol=1e-6)
    assert found.labels.tolist() == [2, 0]
    assert make_detect(network, 0.7)(drawn(*size, 3)).labels.tolist() == [2]


def test_masks_are_carried_back_to_images_and_their_files():
    part = np.zeros((28, 28), np.float32)
    part[:, :14] = 1  # the left half of the box
    boxes = np.array([[10.0, 5, 30, 15], [0, 0, 2, 2]])
    found = Found(boxes, np.array([1, 0]), np.array([0.9, 0.6]), np.stack([part, 1 - part]))
    expected = np.zeros((20, 40), bool)
    expected[5:15, 10:20] = True
    first, second = found.masks((20, 40))
    # The border of a mask fades out, and its corners are rounded to whole pixels.
    assert np.mean(first != expected) < 0.03 and first[6:14, 11:19].all() and second.sum() <= 4
    network = Network(None, {}, None, ("a", "b"), "")
    image = {"id": 3, "path": "x.png", "width": 80, "height": 60}  # reduced when it was read
    one, _ = results_of(network, image, found, (40, 20))
    assert one["bbox"] == [20, 15, 40, 30] and one["category"] == "b" and one["image_id"] == 3
    runs = one["segmentation"]
    assert runs["size"] == [60, 80]
    mask = run_length_mask(decompressed(runs["counts"]), (60, 80))
    larger = np.kron(expected, np.ones((3, 2), bool))
    assert np.mean(mask != larger) < 0.03 and mask[17:43, 22:38].all()


def test_pictures_tables_and_results(localizer, images, tmp_path, capsys):
    out = tmp_path / "out"
    detect.main(["--run", str(localizer), "--output", str(out), str(images)])
    printed = capsys.readouterr().out
    assert "5 images; see" in printed and "2 files could not be read" in printed
    assert "text.jpg: its content is not an image" in printed
    listed = {one["path"].rpartition("/")[2]: one for one in rows_of(out / "images.csv")}
    sizes = {name: (int(one["width"]), int(one["height"])) for name, one in listed.items()}
    assert sizes == {
        "a wide.png": (90, 50),
        "gray.png": (21, 33),
        "palette.gif": (40, 40),
        "pixel.png": (1, 1),
        "turned.jpg": (40, 60),
    }
    for one in listed.values():
        with Image.open(out / "pictures" / one["picture"]) as picture:
            assert max(picture.size) == 640
    assert (out / "detections.png").is_file()

    results = json.loads((out / "detections.json").read_text())
    assert [one["image_id"] for one in results] == [1, 2, 3, 4, 5]
    network = load_run(localizer)
    good, _ = image_files.read_images(sorted(images.iterdir()))
    for one, (path, image) in zip(results, good, strict=True):
        assert one["file_name"] == str(path)
        outputs = network.model.apply(network.variables, network.preprocessing(image)[None])
        seen = network.preprocessing.place(image).size
        back = np.tile(np.array(image.shape[1::-1]) / seen[::-1], 2)
        box = np.minimum(outputs["box"][0] * back, np.tile(image.shape[1::-1], 2))
        expected = [*box[:2], *(box[2:] - box[:2])]
        np.testing.assert_allclose(one["bbox"], expected, atol=2e-3)
        probabilities = np.asarray(jax.nn.softmax(outputs["logits"][0]))
        assert one["category"] == network.class_names[one["category_id"]]
        assert one["score"] == pytest.approx(probabilities[one["category_id"]], rel=1e-5)
        assert one["score"] == pytest.approx(probabilities.max(), rel=1e-5)
    classes = rows_of(out / "classes.csv")
    assert sum(int(one["objects"]) for one in classes) == 5


def test_results_are_read_by_pycocotools(localizer, images, tmp_path, capsys):
    coco = pytest.importorskip("pycocotools.coco", reason="pycocotools is not installed").COCO()
    out = tmp_path / "out"
    detect.main(["--run", str(localizer), "--output", str(out), str(images)])
    listed = [{"id": int(one["id"])} for one in rows_of(out / "images.csv")]
    coco.dataset = {"images": listed, "categories": [{"id": i} for i in range(3)]}
    coco.createIndex()
    loaded = coco.loadRes(str(out / "detections.json"))
    assert sorted(loaded.getImgIds()) == [1, 2, 3, 4, 5] and len(loaded.anns) == 5


def test_boxes_of_large_images_are_in_their_own_pixels(localizer, tmp_path, monkeypatch):
    Image.fromarray(drawn(100, 200, 3)).save(tmp_path / "large.png")

    def box(name):
        words = ["--run", str(localizer), "--output", str(tmp_path / name)]
        detect.main([*words, str(tmp_path / "large.png")])
        (one,) = json.loads((tmp_path / name / "detections.json").read_text())
        (listed,) = rows_of(tmp_path / name / "images.csv")
        assert (listed["width"], listed["height"]) == ("200", "100")
        return one["bbox"]

    expected = box("whole")
    monkeypatch.setattr(image_files, "AT_MOST", 40)
    np.testing.assert_allclose(box("reduced"), expected, atol=4)


def test_nothing_is_found(localizer, images, tmp_path, capsys):
    out = tmp_path / "out"
    words = ["--run", str(localizer), "--threshold", "1", "--output", str(out)]
    detect.main([*words, str(images / "gray.png")])
    assert "1 image; see" in capsys.readouterr().out
    assert json.loads((out / "detections.json").read_text()) == []
    assert rows_of(out / "images.csv")[0]["objects"] == "0" and not rows_of(out / "classes.csv")
    with pytest.raises(SystemExit):
        detect.main(["--run", str(localizer), "--threshold", "1.5", str(images)])
    assert "threshold must be" in capsys.readouterr().out


@pytest.mark.parametrize("tool", [predict, segment])
def test_other_tools_name_detect(localizer, tool, images, capsys):
    with pytest.raises(SystemExit):
        tool.main(["--run", str(localizer), str(images)])
    shown = " ".join(capsys.readouterr().out.split())
    if tool is predict:
        assert "gives the boxes of objects; python -m experiments.detect is for those" in shown
    else:
        assert "expected a network for segmentation, got a run of the task Localization" in shown


def test_a_classifier_is_refused(tmp_path, capsys):
    make_run(tmp_path / "run", DataConfig(name="digits"))
    with pytest.raises(SystemExit):
        detect.main(["--run", str(tmp_path / "run"), "x.png"])
    shown = " ".join(capsys.readouterr().out.split())
    assert "a network that gives the boxes of objects, got a run of the task Classific" in shown


def test_a_detector_finds_what_its_task_finds(detector, images, tmp_path):
    network = as_detector(load_any_network(NetworkConfig(run=str(detector))))
    # A fresh network has scores of about 0.01.
    image = drawn(32, 32, 3)
    found = make_detect(network, 0.01)(image)
    task = replace(network.task, score_threshold=0.01)
    variables = dict(network.variables)
    params = variables.pop("params")
    batch = {"image": network.preprocessing(image)[None]}
    expected = jax.tree.map(np.asarray, jax.jit(task.predict)(params, variables, batch))
    # As torchvision's, a RetinaNet may find boxes outside of the image, which have no area in it.
    inside = (expected["boxes"][0][:, :2] < expected["boxes"][0][:, 2:]).all(axis=1)
    there = inside & (expected["box_labels"][0] >= 0)
    assert 0 < there.sum() == len(found.labels)
    np.testing.assert_allclose(found.boxes, expected["boxes"][0][there], rtol=1e-5)
    np.testing.assert_allclose(found.scores, expected["scores"][0][there], rtol=1e-5)


def test_the_objects_of_a_split_in_its_order():
    boxes = np.zeros((10, 2, 4), np.float32)
    boxes[:, 0] = np.arange(10)[:, None] + [[0, 0, 1, 1]]
    crowd, labels = np.full((10, 2), -1, np.int32), np.full((10, 2), -1, np.int32)
    labels[:, 0], crowd[3, 1], boxes[3, 1] = 2, 1, [0, 0, 9, 9]
    sizes = (
        np.tile(np.array([[12, 16]], np.int32), (10, 1)) + np.arange(10, dtype=np.int32)[:, None]
    )
    images = np.zeros((10, 24, 32, 1), np.uint8)
    arrays = {"image": images, "boxes": boxes, "box_labels": labels, "crowd_labels": crowd}
    network = Network(None, {"params": {}}, OnCanvas((24, 32)), ("a", "b", "c"), "", Given())
    split = ArraySplit(arrays | {"size": sizes})
    found = find_objects(network, split, Console(quiet=True))
    assert len(found) == 10
    for number, (detections, truth) in enumerate(found.images()):
        side = np.array([16, 12]) + number
        np.testing.assert_allclose(detections.boxes[0], np.tile(side, 2) * Given().boxes[0])
        assert detections.labels.tolist() == [2, 0, 1]
        assert truth.boxes[0].tolist() == [number, number, number + 1, number + 1]
        assert truth.crowd.tolist() == ([False, True] if number == 3 else [False])
    gray = replace(network, preprocessing=OnCanvas((24, 32), (0.5,), (0.5,)))
    colour = ArraySplit(arrays | {"size": sizes, "image": images.repeat(3, axis=-1)})
    with pytest.raises(ConfigError, match="takes images of 1 channels, and these have 3"):
        find_objects(gray, colour, Console(quiet=True))
    rows = class_rows(found, network.class_names)
    assert [row["objects"] for row in rows] == [0, 0, 10] and rows[0]["COCO AP"] == ""


def test_masks_are_scored_beside_boxes():
    part = np.zeros((28, 28), np.float32)
    part[:, :14] = 1
    boxes, ids = np.array([[[0.0, 0, 8, 8]]]), np.zeros((1, 16, 16), np.uint8)
    ids[0, :8, :4] = 1
    found = {"boxes": boxes.astype(np.float32), "box_labels": np.array([[0]])}
    found |= {"scores": np.array([[0.9]]), "masks": part[None, None]}
    truths = {"boxes": np.array([[[0.0, 0, 5, 8]]]), "box_labels": np.array([[0]])}
    objects = FoundObjects([(found, truths | {"instances": ids})])
    scores = {row["score"]: row["value"] for row in score_rows(objects)}
    # The boxes overlap by 5/8, and the masks by more than 9/10.
    assert scores["COCO AP50"] == 1 and scores["COCO AP75"] == 0
    assert scores["masks, COCO AP75"] == scores["masks, VOC mAP, 11 points"] == 1
    (row,) = class_rows(objects, ["cell"])
    assert row["masks, COCO AP"] > 2 * row["COCO AP"] > 0 and row["objects"] == 1


def test_evaluate_gives_the_scores_of_coco_and_voc(detector, tmp_path, capsys):
    words = ["--run", str(detector), "--output", str(tmp_path / "out")]
    rows = evaluate.main([*words, "--split", "validation"])
    printed = capsys.readouterr().out
    assert "COCO AP_small" in printed and "triangle" in printed and "validation, 16" in printed
    scores = {row["score"]: row["value"] for row in rows}
    assert len(scores) == 14

    network = as_detector(load_any_network(NetworkConfig(run=str(detector))))
    split = detection.build(detection.SMOKE).dataset.splits["validation"]
    examples = [split[index] for index in range(len(split))]
    batch = {name: np.stack([one[name] for one in examples]) for name in split.spec}
    preprocessing = network.preprocessing
    inputs = np.stack([preprocessing(image) for image in batch["image"]])
    found = make_detector(network)(batch | {"image": inputs})
    images = list(scored_images(found, batch))
    expected = coco_scores(images)
    for name, value in expected.items():
        assert scores[f"COCO {name}"] == ("" if np.isnan(value) else pytest.approx(value))
    voc = voc_scores(images, points="11")["mAP"]
    assert scores["VOC mAP, 11 points"] == pytest.approx(voc)
    written = json.loads((tmp_path / "out" / "evaluation.json").read_text())
    assert written["scores"] == rows and written["images"] == 16
    objects = {one["class"]: one["objects"] for one in written["classes"]}
    assert sum(objects.values()) == np.sum(batch["box_labels"] >= 0)


def test_evaluate_says_how_often_class_and_box_are_right(localizer, tmp_path):
    rows = evaluate.main(["--run", str(localizer), "--output", str(tmp_path / "out")])
    scores = {row["score"]: row["value"] for row in rows}
    network, split = load_run(localizer), localization.build(localization.SMOKE).dataset
    examples = [split.splits["test"][index] for index in range(16)]
    batch = {name: np.stack([one[name] for one in examples]) for name in examples[0]}
    inputs = np.stack([network.preprocessing(image) for image in batch["image"]])
    variables = dict(network.variables)
    arrays = batch | {"image": inputs, "weight": np.ones(16, np.float32)}
    _, (_, sums) = jax.jit(network.task.loss_fn, static_argnums=4)(
        variables.pop("params"), variables, arrays, jax.random.key(0), False
    )
    expected = network.task.summarize(jax.device_get(sums) | {"loss": 0.0})
    assert scores["class right"] == pytest.approx(expected["accuracy"])
    assert scores["mean IoU"] == pytest.approx(expected["mean_iou"])
    assert scores["class right and IoU >= 0.5"] == pytest.approx(expected["localized"])


def test_shares_of_right_classes_and_boxes():
    box, half = np.array([[0.0, 0, 10, 10]]), np.array([[0.0, 0, 10, 4]])
    images = [
        (Detections(found, np.array([label]), np.ones(1)), Truths(box, np.array([1])))
        for found, label in ((box, 1), (half, 1), (box, 0), (half, 0))
    ]
    values = [row["value"] for row in localization_rows(images)]
    assert values == [0.5, pytest.approx(0.7), 0.25]
