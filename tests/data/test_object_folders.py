"""Folders of images with boxes and instances, in COCO's, VOC's and YOLO's layouts and as ids."""

import json

import numpy as np
import pytest
from PIL import Image

from cnn_jax.data import DataConfig, DataError, load_dataset
from cnn_jax.voc import VOC_CLASSES
from tests.data.conftest import noise

HEIGHT, WIDTH = 6, 8
BOX, OTHER = [1.0, 2.0, 4.0, 5.0], [0.0, 0.0, 8.0, 6.0]
"""(x0, y0, x1, y1) in pixels."""


def save(path, array=None, size=(HEIGHT, WIDTH)):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(noise(1, (*size, 3))[0] if array is None else array).save(path)


def write(path, text):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text if isinstance(text, str) else json.dumps(text))


def load(folder, target="boxes", **options):
    options = {"validation": "none", "test": "none"} | options
    return load_dataset(DataConfig(name=str(folder), **options), default="bccd", target=target)


def examples(folder, target="boxes", split="train", **options):
    found = load(folder, target, **options).splits[split]
    return [found[index] for index in range(len(found))]


def message(folder, target="boxes", **options):
    with pytest.raises(DataError) as error:
        load(folder, target, **options)
    return str(error.value)


def annotation(number=1, box=BOX, image=1, category=7, **others):
    x0, y0, x1, y1 = box
    return {
        "id": number,
        "image_id": image,
        "category_id": category,
        "bbox": [x0, y0, x1 - x0, y1 - y0],
    } | others


def coco(annotations, names=("1.png", "2.png"), **others):
    return {
        "images": [
            {"id": number, "file_name": name, "height": HEIGHT, "width": WIDTH}
            for number, name in enumerate(names, 1)
        ],
        "categories": [{"id": 7, "name": "cell"}, {"id": 3, "name": "nucleus"}],
        "annotations": annotations,
    } | others


@pytest.fixture
def coco_folder(tmp_path):
    """Writes a folder of two images in COCO's layout."""

    def write_folder(annotations, **others):
        for name in ("1.png", "2.png"):
            save(tmp_path / "train2017" / name)
        write(tmp_path / "annotations" / "instances_train2017.json", coco(annotations, **others))
        return tmp_path

    return write_folder


def test_coco(coco_folder):
    annotations = [
        annotation(1),
        annotation(2, OTHER, category=3, iscrowd=1),
        annotation(3, image=2),
    ]
    folder = coco_folder(annotations)
    dataset = load(folder)
    assert dataset.class_names == ("nucleus", "cell") and not dataset.notes
    spec = {name: (one.shape, one.dtype.name) for name, one in dataset.spec.items()}
    assert spec == {
        "image": ((HEIGHT, WIDTH, 3), "uint8"),
        "size": ((2,), "int32"),
        "boxes": ((2, 4), "float32"),
        "box_labels": ((2,), "int32"),
        "crowd_labels": ((2,), "int32"),
    }
    first, second = examples(folder)
    assert first["boxes"].tolist() == [BOX, OTHER]
    # A crowd is not to be learned.
    assert first["box_labels"].tolist() == [1, -1] and first["crowd_labels"].tolist() == [-1, 0]
    assert second["boxes"].tolist() == [BOX, [0, 0, 0, 0]]
    assert second["box_labels"].tolist() == [1, -1] and second["crowd_labels"].tolist() == [-1, -1]


def test_images_without_objects_and_of_several_sizes_lie_on_one_canvas(coco_folder):
    folder = coco_folder([annotation(1)])
    save(folder / "train2017" / "2.png", size=(9, 4))
    path = folder / "annotations" / "instances_train2017.json"
    content = json.loads(path.read_text())
    content["images"][1] |= {"height": 9, "width": 4}
    write(path, content)
    first, second = examples(folder)
    assert first["image"].shape == second["image"].shape == (9, WIDTH, 3)
    assert first["size"].tolist() == [HEIGHT, WIDTH] and second["size"].tolist() == [9, 4]
    assert not first["image"][HEIGHT:].any() and not second["image"][:, 4:].any()
    assert second["box_labels"].tolist() == [-1] and not second["boxes"].any()
    # The longer sides become 18: 6x8 is then 14x18, and 9x4 is 18x8.
    larger, other = examples(folder, image_size=18)
    assert larger["image"].shape == (18, 18, 3)
    assert larger["size"].tolist() == [14, 18] and other["size"].tolist() == [18, 8]
    expected = np.array(BOX) * [18 / 8, 14 / 6, 18 / 8, 14 / 6]
    np.testing.assert_allclose(larger["boxes"][0], expected, rtol=1e-6)


def test_coco_instances(coco_folder):
    x0, y0, x1, y1 = BOX
    square = [[x0, y0, x1, y0, x1, y1, x0, y1]]
    # The left column and the pixel above the lower right one, down column after column.
    runs = {"size": [HEIGHT, WIDTH], "counts": [0, 6, 40, 1, 1]}
    annotations = [
        annotation(1, OTHER, segmentation=[[0, 0, 8, 0, 8, 6, 0, 6]]),
        annotation(2, segmentation=square),
        annotation(3, OTHER, image=2, segmentation=runs, iscrowd=1),
    ]
    first, second = examples(coco_folder(annotations), "instances")
    expected = np.full((HEIGHT, WIDTH), 1)
    expected[2:5, 1:4] = 2  # the smaller object covers the larger one, whose row comes first
    assert first["instances"].dtype == np.uint8
    np.testing.assert_array_equal(first["instances"], expected)
    expected = np.zeros((HEIGHT, WIDTH), int)
    expected[:, 0] = expected[-2, -1] = 1
    np.testing.assert_array_equal(second["instances"], expected)


@pytest.mark.parametrize("layout", ["beside", "roboflow", "one_file", "images"])
def test_other_places_of_coco_files(tmp_path, layout):
    folders = {
        "beside": ("annotations/train.json", "train"),
        "images": ("annotations/train.json", "images/train"),
        "roboflow": ("train/_annotations.coco.json", "train"),
        "one_file": ("annotations.json", "images"),
    }
    file, images = folders[layout]
    for name in ("1.png", "2.png"):
        save(tmp_path / images / name)
    write(tmp_path / file, coco([annotation()]))
    assert [one["box_labels"].tolist() for one in examples(tmp_path)] == [[1], [-1]]


WRONG = {
    "box outside": ([annotation(5, [8, 0, 9, 3])], r"annotation 5: the box \(8, 0, 9, 3\) is outs"),
    "inverted box": ([annotation(5, [4, 2, 1, 5])], r"annotation 5: the box \(4, 2, 1, 5\) has no"),
    "no area": ([annotation(5, [4, 2, 4, 5])], "has no area, expected x0 < x1 and y0 < y1"),
    "category": ([annotation(5, category=1)], "annotation 5 is of the category 1, which the file"),
    "image": ([annotation(5, image=9)], "annotation 5 is of the image 9, which the file does not"),
    "few numbers": (
        [annotation(5, bbox=[1, 2, 3])],
        r"has bbox = \[1, 2, 3\], expected a list",
    ),
    "no numbers": ([annotation(5, bbox="1 2 3 4")], 'annotation 5 has bbox = "1 2 3 4", expected'),
    "no box": (
        [{"id": 5, "image_id": 1, "category_id": 7}],
        "annotation 5 has bbox = null, expect",
    ),
    "no image": ([{"id": 5}], "annotation 5 has no image_id, expected an integer"),
    "polygon": (
        [annotation(5, segmentation=[[1, 2, 3, 4, 5]])],
        "annotation 5 has a segmentation that cannot be used: its polygon has 5 numbers",
    ),
    "far": ([annotation(5, segmentation=[[1, 2, 1e9, 4, 5, 6]])], r"corner \(1e\+09, 4\), far out"),
    "runs": (
        [annotation(5, segmentation={"size": [6, 8], "counts": [1, 2]})],
        "its run lengths add up to 3, expected 48 pixels",
    ),
    "text": (
        [annotation(5, segmentation={"size": [6, 8], "counts": "é"})],
        "lengths have the",
    ),
}


@pytest.mark.parametrize("case", WRONG)
def test_annotations_that_cannot_be_used(coco_folder, case):
    annotations, expected = WRONG[case]
    folder = coco_folder(annotations)
    with pytest.raises(DataError, match=expected) as error:
        load(folder)
    assert "instances_train2017.json: annotation 5" in str(error.value)


def test_boxes_that_cannot_be_used_may_be_left_out(coco_folder):
    annotations = [annotation(1, [4, 2, 4, 5]), annotation(2), annotation(3, [-4, 2, 3, 9])]
    folder = coco_folder(annotations)
    assert "--data.skip-unreadable" in message(folder)
    dataset = load(folder, skip_unreadable=True)
    left_out, cut = dataset.notes
    assert "left out: 1\n" in left_out and "annotation 1" in left_out
    # A box that reaches beyond its image is cut, which is told.
    assert "cut at its border: 1\n" in cut and "annotation 3" in cut
    assert dataset.splits["train"][0]["boxes"].tolist() == [BOX, [0, 2, 3, 6]]


def test_instances_of_boxes_that_are_left_out(coco_folder):
    shapes = [[0, 0, 8, 0, 8, 6, 0, 6]], [[1, 2, 4, 2, 4, 5, 1, 5]]
    annotations = [annotation(1, [4, 2, 4, 5], segmentation=shapes[0])]
    annotations += [annotation(2, segmentation=shapes[1])]
    folder = coco_folder(annotations)
    first, _ = examples(folder, "instances", skip_unreadable=True)
    expected = np.zeros((HEIGHT, WIDTH), int)
    expected[2:5, 1:4] = 1
    np.testing.assert_array_equal(first["instances"], expected)


def test_more_objects_than_fit(coco_folder):
    folder = coco_folder([annotation(1), annotation(2, OTHER)])
    assert load(folder, most_boxes=5).spec["boxes"].shape == (5, 4)
    found = message(folder, most_boxes=1)
    assert "1.png has 2 objects, and 1 fit: set --data.most-boxes to 2 or more" in found


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ('{"images": [}', "cannot be read as JSON: Expecting value: line 1 column 13"),
        ("[]", r"has \[\], expected images, annotations, categories"),
        ('{"images": [], "annotations": []}', "has no categories, expected a list of objects"),
        ('{"images": 1}', "has no categories"),
        (
            '{"categories": [{"id": 7, "name": NaN}]}',
            "cannot be read as JSON: it has the value NaN",
        ),
        ("[" * 100_000, "cannot be read as JSON: "),
        ("\xff", "cannot be read as JSON"),
    ],
)
def test_broken_json(coco_folder, text, expected):
    folder = coco_folder([])
    write(folder / "annotations" / "instances_train2017.json", text)
    with pytest.raises(DataError, match=f"instances_train2017.json {expected}"):
        load(folder)


@pytest.mark.parametrize("name", ["../1.png", "/etc/passwd", "a/../../b.png", ""])
def test_file_names_stay_below_the_folder(coco_folder, name):
    folder = coco_folder([], images=[{"id": 1, "file_name": name, "height": 6, "width": 8}])
    assert "expected a path below the folder of images" in message(folder)


def test_images_and_entries_belong_together(coco_folder):
    folder = coco_folder([])
    save(folder / "train2017" / "3.png")
    (note,) = load(folder).notes
    assert "images that" in note and "does not list: 1\n" in note and "3.png" in note
    (folder / "train2017" / "2.png").unlink()
    assert "lists 1 images that are not there" in message(folder)
    save(folder / "train2017" / "2.png", size=(3, 3))
    assert "2.png has 3x3 pixels (height x width), and its annotation is for 6x8" in message(folder)


def test_splits_share_their_categories(coco_folder):
    folder = coco_folder([annotation()])
    other = coco([], categories=[{"id": 7, "name": "dog"}])
    write(folder / "annotations" / "instances_val2017.json", other)
    for name in ("1.png", "2.png"):
        save(folder / "val2017" / name)
    assert "has other categories than the split before" in message(folder, validation="val")
    assert len(load(folder).splits["train"]) == 2
    write(folder / "annotations" / "train.json", other)
    assert "are both for the split train: remove one" in message(folder)


OBJECT = """
  <object>
    <name>{name}</name>
    <difficult>{difficult}</difficult>
    <part><name>head</name><bndbox><xmin>1</xmin></bndbox></part>
    <bndbox><xmin>{0}</xmin><ymin>{1}</ymin><xmax>{2}</xmax><ymax>{3}</ymax></bndbox>
  </object>"""


def voc(*boxes, name="cat", difficult=0):
    objects = "".join(OBJECT.format(*box, name=name, difficult=difficult) for box in boxes)
    return f'<?xml version="1.0"?>\n<annotation>{objects}\n</annotation>'


@pytest.fixture
def voc_folder(tmp_path):
    for name in ("a", "b"):
        save(tmp_path / "JPEGImages" / f"{name}.png")
    write(tmp_path / "Annotations" / "a.xml", voc((2, 3, 4, 5)))
    write(tmp_path / "Annotations" / "b.xml", voc((1, 1, 8, 6), difficult=1))
    return tmp_path


def test_voc(voc_folder):
    dataset = load(voc_folder)
    assert dataset.class_names == VOC_CLASSES[1:]
    first, second = examples(voc_folder)
    cat = VOC_CLASSES.index("cat") - 1
    # VOC's pixels begin at 1 and include the last one.
    assert first["boxes"].tolist() == [BOX] and first["box_labels"].tolist() == [cat]
    assert second["boxes"].tolist() == [OTHER]
    assert second["box_labels"].tolist() == [-1] and second["crowd_labels"].tolist() == [cat]
    write(voc_folder / "ImageSets" / "Main" / "train.txt", "b\n")
    assert [one["boxes"].tolist() for one in examples(voc_folder)] == [[OTHER]]


def test_classes_of_voc_files(voc_folder):
    write(voc_folder / "Annotations" / "a.xml", voc((2, 3, 4, 5), name="zebra"))
    dataset = load(voc_folder)
    assert dataset.class_names == ("cat", "zebra") and "orders them" in dataset.notes[0]
    write(voc_folder / "classes.txt", "zebra\ncat\n")
    assert examples(voc_folder)[0]["box_labels"].tolist() == [0]
    write(voc_folder / "classes.txt", "cat\n")
    assert "a.xml: line 3: the object is of the class 'zebra', which" in message(voc_folder)


BOMB = """<?xml version="1.0"?>
<!DOCTYPE lolz [<!ENTITY lol "lol"><!ENTITY lots "&lol;&lol;">]>
<annotation><object><name>&lots;</name></object></annotation>"""


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("<annotation>\n<object></annotation>", "cannot be read as XML: mismatched tag: line 2"),
        ("", "cannot be read as XML: no element found"),
        (BOMB, "cannot be read as XML: line 2 declares a document type, which is not read"),
        (voc((2, 3, "x", 5)), r": line 3: the object has 'x' as bndbox/xmax, expected pixels"),
        (voc((2, 3, 4, 5), name=""), ": line 3: the object has no name of its class"),
        (voc((5, 3, 4, 5)), r": line 3: the box \(4, 2, 4, 5\) has no area"),
        (voc((2, 3, "nan", 5)), r": line 3: the box \(1, 2, nan, 5\) is not finite"),
        ("<annotation><object><name>cat</name></object></annotation>", "has no bndbox/xmin"),
        (" " * 2_000_000, "it has more than 1,048,576 bytes, which is the limit"),
    ],
)
def test_broken_xml(voc_folder, text, expected):
    write(voc_folder / "Annotations" / "a.xml", text)
    with pytest.raises(DataError, match=f"a.xml.*{expected}"):
        load(voc_folder)


def test_images_and_xml_files_belong_together(voc_folder):
    (voc_folder / "JPEGImages" / "b.png").unlink()
    save(voc_folder / "JPEGImages" / "c.png")
    found = message(voc_folder)
    assert "there is no image" in found and "b.jpg" in found and "c.xml" in found


def test_yolo(tmp_path):
    for split in ("train", "val"):
        for name in ("a", "b"):
            save(tmp_path / "images" / split / f"{name}.png")
    # Centre (2.5, 3.5) and sides (3, 3) of 8x6 pixels.
    line = f"1 {2.5 / 8} {3.5 / 6} {3 / 8} {3 / 6}"
    write(tmp_path / "labels" / "train" / "a.txt", f"{line}\n\n0 .5 .5 1 1\n")
    dataset = load(tmp_path, validation="val")
    assert dataset.class_names == ("0", "1")
    assert any("without a text file" in note and "b.png" in note for note in dataset.notes)
    first, second = examples(tmp_path)
    np.testing.assert_allclose(first["boxes"], [BOX, OTHER], atol=1e-5)
    assert first["box_labels"].tolist() == [1, 0] and second["box_labels"].tolist() == [-1, -1]
    write(tmp_path / "classes.txt", "dog\ncat\n")
    assert load(tmp_path, validation="val").class_names == ("dog", "cat")
    assert "without the pixels of instances" in message(tmp_path, "instances")


def test_polygons_of_yolo(tmp_path):
    save(tmp_path / "train" / "images" / "a.png")
    corners = [(1, 2), (4, 2), (4, 5), (1, 5)]
    line = " ".join(f"{x / 8} {y / 6}" for x, y in corners)
    write(tmp_path / "train" / "labels" / "a.txt", f"0 {line}\n")
    (example,) = examples(tmp_path, "instances")
    np.testing.assert_allclose(example["boxes"], [BOX], atol=1e-5)
    assert example["instances"].sum() == 9 and example["instances"][2:5, 1:4].all()


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("0 .5 .5 1", "it has 4 numbers, expected a class and a box of 4 or a polygon"),
        ("0 .5 .5 1 1 .5", "it has 6 numbers"),
        ("x .5 .5 1 1", "'x' is no class, expected 0 to 1"),
        ("2 .5 .5 1 1", "'2' is no class, expected 0 to 1"),
        ("0 .5 .5 one 1", "could not convert string to float: 'one'"),
        ("0 320 240 64 64", "expected shares of width and height, between 0 and 1"),
        ("0 nan .5 1 1", "expected shares of width and height"),
    ],
)
def test_lines_that_cannot_be_used(tmp_path, line, expected):
    save(tmp_path / "images" / "a.png")
    write(tmp_path / "classes.txt", "dog\ncat\n")
    write(tmp_path / "labels" / "a.txt", f"0 .5 .5 1 1\n{line}\n")
    with pytest.raises(DataError, match=f"a.txt: line 2 .*{expected}"):
        load(tmp_path)


def test_boxes_of_yolo_without_area_and_texts_without_image(tmp_path):
    save(tmp_path / "images" / "a.png")
    write(tmp_path / "labels" / "a.txt", "0 .5 .5 0 1\n")
    assert "a.txt: line 1: the box (4, 0, 4, 6) has no area" in message(tmp_path)
    write(tmp_path / "labels" / "b.txt", "")
    assert "for these files" in message(tmp_path) and "b.txt" in message(tmp_path)


IDS = np.array([[0, 0, 500, 500], [7, 7, 0, 500], [7, 0, 0, 0]], np.uint16)


def test_instance_ids(tmp_path):
    save(tmp_path / "images" / "a.png", size=(3, 4))
    save(tmp_path / "instances" / "a.png", IDS)
    dataset = load(tmp_path, "instances")
    assert dataset.class_names == ("object",)
    (example,) = examples(tmp_path, "instances")
    # In the order of the ids.
    assert example["boxes"].tolist() == [[0, 1, 2, 3], [2, 0, 4, 2]]
    assert example["box_labels"].tolist() == [0, 0]
    expected = [[0, 0, 2, 2], [1, 1, 0, 2], [1, 0, 0, 0]]
    assert example["instances"].tolist() == expected
    assert "instances" not in load(tmp_path).spec
    write(tmp_path / "classes.txt", "cell\n")
    assert load(tmp_path).class_names == ("cell",)
    # A resized instance is made of its nearest pixels.
    (larger,) = examples(tmp_path, "instances", image_size=8)
    np.testing.assert_array_equal(larger["instances"], np.kron(expected, np.ones((2, 2))))
    assert larger["boxes"].tolist() == [[0, 2, 4, 6], [4, 0, 8, 4]]


def test_instance_ids_that_cannot_be_used(tmp_path):
    save(tmp_path / "images" / "a.png", size=(3, 4))
    save(tmp_path / "instances" / "a.png", np.zeros((3, 5), np.uint8))
    assert "a.png have 3x5 pixels (height x width) and their image" in message(tmp_path)
    save(tmp_path / "instances" / "a.png", noise(1, (3, 4, 3))[0])
    assert "is an RGB image, expected one number for each pixel" in message(tmp_path)
    (tmp_path / "instances" / "a.png").write_bytes(b"no image")
    assert "a.png cannot be read: its content is not an image" in message(tmp_path)


def test_one_object_in_each_image(coco_folder):
    folder = coco_folder([annotation(1), annotation(2, OTHER, image=2, category=3)])
    first, second = examples(folder, "box")
    assert (int(first["label"]), int(second["label"])) == (1, 0)
    assert first["boxes"].shape == (1, 4)
    folder = coco_folder([annotation(1), annotation(2, OTHER)])
    found = message(folder, "box")
    assert "localization needs one object in each image" in found and "1.png has 2" in found


def test_an_unreadable_image_is_named(coco_folder):
    folder = coco_folder([annotation(1), annotation(2, image=2)])
    (folder / "train2017" / "2.png").write_bytes(b"no image")
    assert "2.png cannot be read: its content is not an image" in message(folder)
    dataset = load(folder, skip_unreadable=True)
    assert len(dataset.splits["train"]) == 1 and "1 files are left out" in dataset.notes[0]


def test_a_stream_has_the_same_examples(coco_folder):
    folder = coco_folder([annotation(1), annotation(2, OTHER, image=2)])
    stored, streamed = examples(folder), examples(folder, storage="stream")
    for one, other in zip(stored, streamed, strict=True):
        assert all(np.array_equal(one[name], other[name]) for name in one)


def test_folders_without_annotations(tmp_path):
    save(tmp_path / "images" / "a.png")
    assert "has no annotations of objects: expected annotations/" in message(tmp_path)
    assert "there is no folder" in message(tmp_path / "none")
    found = message(tmp_path, resize=8, image_size=4)
    assert "--data.resize 8 is for squares that are cut out of images, and boxes need all" in found
