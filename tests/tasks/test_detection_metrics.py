"""Average precision: against pycocotools and worked out by hand."""

import contextlib
import io

import numpy as np
import pytest

from cnn_jax.errors import ConfigError
from cnn_jax.tasks import Detections, Truths, box_overlaps, coco_scores, mask_overlaps, voc_scores
from cnn_jax.tasks.detection_metrics import COCO_SCORES

SIDE = 160
NO_MASKS = np.zeros((0, SIDE, SIDE), bool)


def drawn(seed, *, images=12, classes=3, crowds=False, ties=False, most=8):
    """Images with objects of all sizes, and detections near them, elsewhere or missing."""
    rng = np.random.default_rng(seed)
    pairs = []
    for i in range(images):
        count = 0 if i % 4 == 0 else int(rng.integers(1, most))
        truths = boxes_at(rng, count)
        labels = rng.integers(classes, size=count)
        # Image 1 has no detections, image 0 no objects, and image 4 neither.
        near = truths[rng.random(count) < 0.8] if i != 1 else truths[:0]
        found = near.repeat(2, axis=0) + rng.normal(size=(2 * len(near), 4)) * [[4, 4, 6, 6]]
        found = np.concatenate([found, boxes_at(rng, 0 if i in (1, 4) else 3)])
        found[:, 2:] = np.maximum(found[:, 2:], found[:, :2] + 1)
        found_labels = np.concatenate(
            [labels[: len(near)].repeat(2), rng.integers(classes, size=len(found) - 2 * len(near))]
        )
        scores = rng.random(len(found))
        crowd = rng.random(count) < 0.3 if crowds else None
        pairs.append(
            (
                Detections(
                    found.round(1),
                    found_labels,
                    (scores * 4).round() / 4 if ties else scores,
                    masks_of(found),
                ),
                Truths(truths, labels, crowd, rng.random(count) * 12000, masks_of(truths)),
            )
        )
    return pairs


def boxes_at(rng, count):
    corners = rng.integers(0, SIDE // 2, size=(count, 2))
    sides = rng.choice([8, 20, 31, 32, 60, 96, 110], size=(count, 2))
    return np.concatenate([corners, np.minimum(corners + sides, SIDE)], axis=1).astype(float)


def masks_of(boxes):
    """Ellipses in the boxes, and one that is empty."""
    y, x = np.mgrid[:SIDE, :SIDE] + 0.5
    masks = []
    for x0, y0, x1, y1 in boxes:
        across, down = (x - (x0 + x1) / 2) / (x1 - x0), (y - (y0 + y1) / 2) / (y1 - y0)
        masks.append(across**2 + down**2 <= 0.25)
    return np.array(masks) if masks else NO_MASKS


def by_pycocotools(pairs, of, with_areas):
    """The twelve scores, from annotations as a file would have them."""
    reason = "pycocotools is not installed"
    coco = pytest.importorskip("pycocotools.coco", reason=reason)
    cocoeval = pytest.importorskip("pycocotools.cocoeval", reason=reason)
    encode = pytest.importorskip("pycocotools.mask", reason=reason).encode

    def annotations(one, image):
        for i, (x0, y0, x1, y1) in enumerate(one.boxes.tolist()):
            box = {"bbox": [x0, y0, x1 - x0, y1 - y0]}
            if of == "masks":
                box = {"segmentation": encode(np.asfortranarray(one.masks[i].astype(np.uint8)))}
            yield {"image_id": image, "category_id": int(one.labels[i]), **box}

    truths, found = [], []
    for image, (detections, objects) in enumerate(pairs):
        for i, one in enumerate(annotations(objects, image)):
            area = (one["bbox"][2] * one["bbox"][3]) if of == "boxes" else objects.masks[i].sum()
            crowd = objects.crowd is not None and bool(objects.crowd[i])
            area = objects.areas[i] if with_areas else area
            truths.append(one | {"id": len(truths) + 1, "iscrowd": int(crowd), "area": area})
        for i, one in enumerate(annotations(detections, image)):
            found.append(one | {"score": float(detections.scores[i])})
    with contextlib.redirect_stdout(io.StringIO()):
        truth = coco.COCO()
        truth.dataset = {
            "images": [{"id": i, "height": SIDE, "width": SIDE} for i in range(len(pairs))],
            "categories": [{"id": i} for i in range(3)],
            "annotations": truths,
        }
        truth.createIndex()
        kind = "bbox" if of == "boxes" else "segm"
        evaluation = cocoeval.COCOeval(truth, truth.loadRes(found), kind)
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
    return dict(zip(COCO_SCORES, evaluation.stats.tolist(), strict=True))


def without_areas(pairs):
    return [(f, Truths(t.boxes, t.labels, t.crowd, None, t.masks)) for f, t in pairs]


@pytest.mark.parametrize("of", ["boxes", "masks"])
@pytest.mark.parametrize(
    "options",
    [
        {"seed": 0},
        {"seed": 1, "crowds": True},
        {"seed": 2, "ties": True},
        {"seed": 3, "crowds": True, "ties": True, "classes": 2},
        {"seed": 4, "crowds": True, "ties": True, "classes": 1, "most": 80, "images": 6},
    ],
)
def test_equal_to_pycocotools(options, of):
    pairs = drawn(**options)
    for with_areas in (False, True):
        expected = by_pycocotools(pairs, of, with_areas)
        scores = coco_scores(iter(pairs if with_areas else without_areas(pairs)), of=of)
        assert tuple(scores) == COCO_SCORES
        told = {name: -1 if np.isnan(value) else value for name, value in scores.items()}
        assert told == pytest.approx(expected, abs=1e-9)
        assert 0.05 < scores["AP"] < 0.95


def test_coco_worked_out_by_hand():
    """Two small objects, of which one is found, after a wrong detection of a third of the boxes."""
    truths = Truths(np.array([[0.0, 0, 10, 10], [20, 20, 30, 30]]), np.array([0, 0]))
    boxes = np.array([[50.0, 50, 60, 60], [0, 0, 10, 8]])
    found = Detections(boxes, np.array([0, 0]), np.array([0.9, 0.8]))
    scores = coco_scores([(found, truths)], class_names=("cell", "none"))
    # An overlap of 0.8 passes the thresholds 0.5 to 0.8. The precision is 1/2 up to the recall 1/2.
    assert scores["AP50"] == pytest.approx(0.5 * 51 / 101)
    assert scores["AP"] == scores["AP_small"] == scores["AP/cell"]
    assert scores["AP"] == pytest.approx(0.7 * 0.5 * 51 / 101)
    assert (scores["AR1"], scores["AR10"]) == (0, pytest.approx(0.7 * 0.5))
    assert all(np.isnan(scores[name]) for name in ("AP_medium", "AR_large", "AP/none"))


def test_without_any_object_or_image_there_is_no_score():
    empty = Truths(np.zeros((0, 4)), np.zeros(0, int))
    found = Detections(np.ones((1, 4)), np.zeros(1, int), np.ones(1))
    for images in ([], [(found, empty)]):
        assert all(np.isnan(value) for value in coco_scores(images).values())
        assert np.isnan(voc_scores(images)["mAP"])


def one_class(scores, boxes, truths, crowd=None):
    found = Detections(np.array(boxes, float), np.zeros(len(boxes), int), np.array(scores))
    return [(found, Truths(np.array(truths, float), np.zeros(len(truths), int), crowd))]


def test_voc_worked_out_by_hand():
    """Right, wrong, right, again the same object; three objects."""
    truths = [[0, 0, 10, 10], [20, 0, 30, 10], [40, 0, 50, 10]]
    boxes = [[0, 0, 10, 10], [60, 0, 70, 10], [20, 0, 30, 5], [0, 0, 10, 9]]
    images = one_class([0.9, 0.8, 0.7, 0.6], boxes, truths)
    # Precision 1 up to the recall 1/3, and 2/3 up to 2/3. An overlap of exactly 1/2 is enough.
    assert voc_scores(images)["mAP"] == pytest.approx((1 + 2 / 3) / 3)
    assert voc_scores(images, points="11")["mAP"] == pytest.approx((4 * 1 + 3 * 2 / 3) / 11)
    scores = voc_scores(images, overlap=0.95, class_names=("cell", "none"))
    assert scores["mAP"] == scores["AP/cell"] == pytest.approx(1 / 3)
    assert np.isnan(scores["AP/none"])


def test_difficult_objects_of_voc_do_not_count():
    truths, difficult = [[0, 0, 10, 10], [20, 0, 30, 10]], np.array([False, True])
    boxes = [[20, 0, 30, 10], [20, 0, 30, 9], [0, 0, 10, 10]]
    assert voc_scores(one_class([0.9, 0.8, 0.7], boxes, truths, difficult))["mAP"] == 1
    assert voc_scores(one_class([0.9, 0.8, 0.7], boxes, truths))["mAP"] == pytest.approx(5 / 6)


def test_eleven_points_at_exactly_their_recalls():
    """Three of ten objects, the recall 0.3, which 3 * 0.1 exceeds."""
    boxes = [[20 * i, 0, 20 * i + 10, 10] for i in range(10)]
    scores = voc_scores(one_class([0.9, 0.8, 0.7], boxes[:3], boxes), points="11")
    assert scores["mAP"] == pytest.approx(4 / 11)


def test_voc_of_several_images_and_classes():
    """The surest detection of all images comes first, and each class is on its own."""
    box = np.array([[0.0, 0, 10, 10]])
    images = [
        (Detections(box, np.array([1]), np.array([0.5])), Truths(box, np.array([1]))),
        (Detections(box + 40, np.array([1]), np.array([0.9])), Truths(box, np.array([0]))),
    ]
    scores = voc_scores(images, class_names=("a", "b"))
    assert scores == {"mAP": 0.25, "AP/a": 0.0, "AP/b": 0.5}


def test_overlaps():
    boxes, truths = (
        np.array([[0.0, 0, 4, 4], [9, 9, 9, 9]]),
        np.array([[2.0, 2, 6, 6], [4, 0, 8, 4]]),
    )
    np.testing.assert_allclose(box_overlaps(boxes, truths), [[4 / 28, 0], [0, 0]])
    crowd = np.array([True, False])
    np.testing.assert_allclose(box_overlaps(boxes, truths, crowd), [[4 / 16, 0], [0, 0]])
    masks = np.zeros((2, 3, 3), bool)
    masks[0, :2], masks[1, 1:, 0] = True, True
    np.testing.assert_allclose(mask_overlaps(masks, masks), [[1, 1 / 7], [1 / 7, 1]])
    np.testing.assert_array_equal(mask_overlaps(masks, masks & False), np.zeros((2, 2)))


def test_masks_that_are_missing():
    with pytest.raises(ConfigError, match="need the masks of all detections and objects"):
        coco_scores(one_class([0.5], [[0, 0, 1, 1]], [[0, 0, 1, 1]]), of="masks")
