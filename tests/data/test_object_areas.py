"""The areas of objects, from the annotations to COCO's average precision by size."""

import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image

from cnn_jax.data import DataConfig, DataError, load_dataset
from cnn_jax.data.augment import geometry
from cnn_jax.tasks import coco_scores
from cnn_jax.tasks.detection import OBJECTS, scored_images
from cnn_jax.tasks.detection_metrics import COCO_SCORES
from tests.data.conftest import noise, png

SIDE = 240


def write_folder(folder, annotations, images=2):
    """A folder in COCO's layout, of square images and one class."""
    (folder / "train").mkdir(parents=True, exist_ok=True)
    names = [f"{number}.png" for number in range(1, images + 1)]
    for name in names:
        Image.fromarray(noise(1, (SIDE, SIDE, 3))[0]).save(folder / "train" / name)
    content = {
        "images": [
            {"id": number, "file_name": name, "height": SIDE, "width": SIDE}
            for number, name in enumerate(names, 1)
        ],
        "categories": [{"id": 0, "name": "cell"}],
        "annotations": annotations,
    }
    path = folder / "annotations" / "train.json"
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps(content))
    return path


def annotation(number, image, box, **others):
    x0, y0, x1, y1 = box
    bbox = [x0, y0, x1 - x0, y1 - y0]
    return {"id": number, "image_id": image, "category_id": 0, "bbox": bbox, "iscrowd": 0} | others


def load(folder, **options):
    config = DataConfig(name=str(folder), validation="none", test="none", **options)
    split = load_dataset(config, default="bccd", target="boxes").splits["train"]
    return [split[index] for index in range(len(split))]


def test_areas_of_annotations_go_with_their_boxes(tmp_path):
    write_folder(
        tmp_path,
        [
            annotation(1, 1, [0, 0, 0, 10], area=1),  # left out
            annotation(2, 1, [0, 0, 20, 10], area=150.5),
            annotation(3, 1, [0, 0, 10, 10], area=None),
            annotation(4, 2, [0, 0, 10, 30]),
        ],
    )
    first, second = load(tmp_path, skip_unreadable=True)
    assert first["areas"].tolist() == [150.5, 100] and second["areas"].tolist() == [300, 0]
    (smaller, _) = load(tmp_path, skip_unreadable=True, image_size=SIDE // 2)
    np.testing.assert_allclose(smaller["areas"], [150.5 / 4, 25])


def test_without_areas_there_is_no_entry(tmp_path):
    write_folder(tmp_path, [annotation(1, 1, [0, 0, 20, 10])])
    assert "areas" not in load(tmp_path)[0]


@pytest.mark.parametrize(("area", "found"), [(-1, "area = -1"), ("large", 'area = ["large"]')])
def test_an_area_that_is_none(tmp_path, area, found):
    path = write_folder(tmp_path, [annotation(1, 1, [0, 0, 20, 10], area=area)])
    with pytest.raises(DataError) as error:
        load(tmp_path)
    assert f"{path}: annotation 1 has {found}, expected" in str(error.value)


def test_areas_of_tfds(write_tfds):
    tfds = pytest.importorskip("tensorflow_datasets")
    names = tfds.features.ClassLabel(names=["cell"])
    features = {"bbox": tfds.features.BBoxFeature(), "label": names, "area": np.int64}
    objects = [{"bbox": tfds.features.BBox(0.0, 0.0, 0.5, 1.0), "label": 0, "area": 7}]
    directory = write_tfds(
        "cells",
        {"train": [(png(noise(1)[0]), objects)]},
        label=tfds.features.Sequence(features),
        label_key="objects",
    )
    config = DataConfig("cells", str(directory), validation="none", test="none", most_boxes=2)
    split = load_dataset(config, default="bccd", target="boxes").splits["train"]
    assert split[0]["areas"].tolist() == [7, 0]


def test_augmentation_keeps_the_share_of_the_box():
    example = {
        "image": jnp.zeros((20, 40, 3)),
        "boxes": jnp.array([[0.0, 0, 20, 10], [30, 10, 40, 20], [0, 0, 0, 0]]),
        "box_labels": jnp.array([0, 0, -1]),
        "areas": jnp.array([50.0, 100, 0]),
    }
    # The right half of the first box remains, twice as large; the second one is out of sight.
    moved = jax.jit(lambda one: geometry.crop_and_resize(one, 0, 10, 10, 20, (20, 40)))(example)
    assert moved["boxes"].tolist() == [[0, 0, 20, 20], [0] * 4, [0] * 4]
    np.testing.assert_allclose(moved["areas"], [50 / 2 * 4, 0, 0])
    np.testing.assert_allclose(geometry.flip(example)["areas"], example["areas"])


def test_average_precision_by_size_equals_pycocotools(tmp_path):
    """Objects that fill half of their box, so that box and area are of different sizes."""
    reason = "pycocotools is not installed"
    coco = pytest.importorskip("pycocotools.coco", reason=reason)
    cocoeval = pytest.importorskip("pycocotools.cocoeval", reason=reason)
    rng = np.random.default_rng(0)
    annotations, found, results = [], [], []
    for image in (1, 2, 3):
        corners = rng.integers(0, 40, (6, 2))
        boxes = np.concatenate([corners, corners + rng.choice([20, 36, 110, 150], (6, 2))], axis=1)
        for box in boxes.tolist():
            area = (box[2] - box[0]) * (box[3] - box[1]) / 2
            annotations.append(annotation(len(annotations) + 1, image, box, area=area))
        found.append((boxes + rng.integers(-4, 5, boxes.shape)).astype(np.float64))
        for box in found[-1].tolist():
            one = annotation(0, image, box)
            score = 1 - len(results) / 20
            results.append({key: one[key] for key in ("image_id", "category_id", "bbox")})
            results[-1]["score"] = score
    path = write_folder(tmp_path, annotations, images=3)
    truths = coco.COCO(str(path))
    evaluation = cocoeval.COCOeval(truths, truths.loadRes(results), "bbox")
    evaluation.evaluate()
    evaluation.accumulate()
    evaluation.summarize()
    examples = load(tmp_path)
    batch = {
        name: np.stack([one[name] for one in examples]) for name in OBJECTS if name in examples[0]
    }
    detections = {
        "boxes": np.stack(found),
        "box_labels": np.zeros((3, 6), int),
        "scores": np.array([one["score"] for one in results]).reshape(3, 6),
    }
    scores = coco_scores(scored_images(detections, batch))
    expected = dict(zip(COCO_SCORES, evaluation.stats, strict=True))
    assert {name: scores[name] for name in COCO_SCORES} == pytest.approx(expected, abs=1e-9)
    of_boxes = coco_scores(scored_images(detections, batch | {"areas": 2 * batch["areas"]}))
    # By the areas of their boxes, no object is small.
    assert expected["AP_small"] > 0.5 and np.isnan(of_boxes["AP_small"])
