"""Opens folders of images with boxes or instances, in any of the usual layouts."""

from collections.abc import Callable
from pathlib import Path

from cnn_jax.data.coco_json import coco_files, find_coco
from cnn_jax.data.dataset import Stored
from cnn_jax.data.errors import DataError
from cnn_jax.data.instance_files import find_instances
from cnn_jax.data.names import SPLIT_NAMES
from cnn_jax.data.objects import Annotations, ObjectTarget
from cnn_jax.data.stored_objects import store_objects
from cnn_jax.data.voc_xml import find_voc_objects, voc_folders
from cnn_jax.data.yolo_text import find_yolo

LAYOUTS = (
    "annotations/instances_train.json with train/ (COCO), Annotations/*.xml with JPEGImages/ (VOC),"
    " labels/*.txt with images/ (YOLO), or instances/*.png with images/"
)


def object_layout(root: Path) -> Callable[[Path], Annotations] | None:
    """What finds the objects of a folder; None if it has no annotations, by their names."""
    if coco_files(root):
        return find_coco
    if voc_folders(root):
        return find_voc_objects
    for beside, find in (("labels", find_yolo), ("instances", find_instances)):
        if any((root / split / beside).is_dir() for split in ("", *SPLIT_NAMES)):
            return find
    return None


def open_object_folder(
    name: str,
    target: ObjectTarget,
    image_size: int = 0,
    most_boxes: int = 0,
    *,
    skip_unreadable: bool = False,
) -> Stored:
    """Opens a folder of images with objects, see `LAYOUTS` and `store_objects`.

    Raises:
        DataError: no annotations; images or annotations that cannot be used.
    """
    root = Path(name).expanduser()
    if not root.is_dir():
        raise DataError(f"there is no folder {root}: expected one with {LAYOUTS}")
    find = object_layout(root)
    if find is None:
        raise DataError(f"{root} has no annotations of objects: expected {LAYOUTS}")
    return store_objects(
        str(root),
        root.resolve().name,
        find(root),
        target,
        image_size=image_size,
        most_boxes=most_boxes,
        skip_unreadable=skip_unreadable,
    )
