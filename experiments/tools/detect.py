"""Find the objects in images: pictures with boxes, tables, and COCO's results as JSON.

    python -m experiments.detect --run runs/detection/1234abcd photos/
    python -m experiments.detect --run runs/localization/1234abcd photos/*.jpg
    python -m experiments.detect --model maskrcnn_resnet50_fpn photos/
    python -m experiments.detect --run runs/detection/1234abcd --threshold 0.05 photos/

The network of a run sees each whole image, resized so that it fits on the canvas of the training
images; one with public weights as torchvision resizes it. Boxes are carried back to the image.
Folders are searched recursively. Files that cannot be read are listed at the end. Writes pictures/,
detections.json (COCO's format of results: boxes as x, y, width and height in pixels of the image
file, masks as run lengths), images.csv, classes.csv, and detections.png, a picture of the first
images.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from jaxtyping import UInt8
from PIL import Image as PillowImage
from rich.console import Console
from rich.markup import escape
from rich.table import Table
from tyro.conf import OmitArgPrefixes, Positional

from cnn_jax.data.rasters import compressed, run_lengths
from cnn_jax.errors import check_range
from cnn_jax.pretrained import Network
from cnn_jax.tasks import Localization
from cnn_jax.visual import class_colours, drawn_objects, picture_sheet, save_figure
from experiments.tools.command_line import run_tool
from experiments.tools.console import progress_bar
from experiments.tools.detector import Found, Image, make_detect
from experiments.tools.image_files import (
    BadImage,
    check_any,
    find_images,
    read_images,
    show_bad,
    stored_size,
)
from experiments.tools.messages import printable, say
from experiments.tools.networks import NetworkConfig, as_detector, load_any_network
from experiments.tools.output import OutputConfig, output_folder, slug, write_csv, writing
from experiments.tools.run import set_up_jax
from experiments.tools.run_directory import write_json

SHOWN = 6
"""Largest number of images in the figure. The files contain all images."""
SURE = 0.5
"""The threshold by default."""
CLASS_COLUMNS = ("path", "picture", "label", "class", "objects", "highest_score")
"""Of classes.csv."""

Picture = UInt8[np.ndarray, "_ _ 3"]


@dataclass(frozen=True)
class Options:
    """Images, network and output."""

    images: Positional[tuple[str, ...]]
    """Image files, and folders of them."""
    network: OmitArgPrefixes[NetworkConfig] = field(default_factory=NetworkConfig)
    threshold: float | None = None
    """Least score of an object, in all files; by default 0.5, and 0 for localization, which gives
    one box for each image. For average precision use 0.05 or less."""
    output: OmitArgPrefixes[OutputConfig] = field(default_factory=OutputConfig)

    def __post_init__(self) -> None:
        check_range(self, 0, 1, threshold=self.threshold)


def main(argv: Sequence[str] | None = None) -> None:
    """Run the tool."""
    run_tool("detect", Options, _run, description=__doc__, argv=argv)


def _run(options: Options, console: Console) -> None:
    set_up_jax()
    paths = find_images(options.images)
    network = as_detector(load_any_network(options.network))
    folder = output_folder(options.output, "detect", network.title)
    threshold = options.threshold
    if threshold is None:
        threshold = 0.0 if isinstance(network.task, Localization) else SURE
    detect = make_detect(network, threshold)
    images: list[dict[str, Any]] = []
    objects: list[dict[str, Any]] = []
    shown: list[tuple[Picture, str]] = []
    bad: list[BadImage] = []
    with progress_bar(console) as progress:
        bar = progress.add_task(network.title, total=len(paths))
        for path in paths:
            # One image is in memory at a time.
            good, unreadable = read_images([path])
            bad += unreadable
            for _, image in good:
                found = detect(image)
                picture = _drawn(network, image, found)
                name = f"{len(images):04d}-{slug(path.stem)}.png"
                with writing(folder):
                    (folder / "pictures").mkdir(exist_ok=True)
                    PillowImage.fromarray(picture).save(folder / "pictures" / name)
                height, width = stored_size(path, image)
                images.append(
                    {
                        "id": len(images) + 1,
                        "path": str(path),
                        "picture": name,
                        "width": width,
                        "height": height,
                        "objects": len(found.labels),
                    }
                )
                objects += results_of(network, images[-1], found, image.shape[1::-1])
                if len(shown) < SHOWN:
                    shown.append((picture, printable(path.name)))
            progress.advance(bar)
    check_any(len(images), bad)
    classes = _class_rows(images, objects)
    with writing(folder):
        write_json(folder / "detections.json", objects)
        write_csv(folder / "images.csv", images)
        write_csv(folder / "classes.csv", classes, CLASS_COLUMNS)
        more = f"; the first {len(shown)} of {len(images)} images" if len(images) > SHOWN else ""
        title = f"{printable(network.title)}, scores from {threshold:g}{more}"
        pictures, captions = zip(*shown, strict=True)
        save_figure(picture_sheet(pictures, captions, title=title), folder / "detections.png")
    console.print(_table(network.title, classes))
    number = f"{len(images)} image{'s' if len(images) > 1 else ''}"
    files = "pictures/, detections.json, images.csv, classes.csv, detections.png"
    say(console, f"{number}; see {folder}: {files}")
    show_bad(console, bad)


def _drawn(network: Network, image: Image, found: Found) -> Picture:
    names = [
        f"{printable(network.class_names[label])} {score:.2f}"
        for label, score in zip(found.labels, found.scores, strict=True)
    ]
    if found.parts is None:
        colours = class_colours(network.class_names)[found.labels]
    else:  # masks of the same class are told apart
        colours = class_colours(names)
    height, width = image.shape[:2]
    return drawn_objects(image, found.boxes, names, colours, found.masks((height, width)))


def results_of(
    network: Network, image: dict[str, Any], found: Found, seen: tuple[int, ...]
) -> list[dict[str, Any]]:
    """The objects of an image in COCO's format of results, with the names beside the numbers."""
    # Large images are reduced when they are read.
    scale = image["width"] / seen[0], image["height"] / seen[1]
    size = image["height"], image["width"]
    corners = (found.boxes * np.tile(scale, 2)).round(3).tolist()
    results = [
        {
            "image_id": image["id"],
            "file_name": image["path"],
            "category_id": int(label),
            "category": network.class_names[label],
            "bbox": [x0, y0, round(x1 - x0, 3), round(y1 - y0, 3)],
            "score": float(score),
        }
        for (x0, y0, x1, y1), label, score in zip(corners, found.labels, found.scores, strict=True)
    ]
    for one, mask in zip(results, found.masks(size, scale), strict=False):
        one["segmentation"] = {"size": list(size), "counts": compressed(run_lengths(mask))}
    return results


def _class_rows(
    images: Sequence[dict[str, Any]], objects: Sequence[dict[str, Any]]
) -> list[dict[str, Any]]:
    """A row for each image and class that was found in it, by the classes' labels."""
    scores: dict[tuple[int, int], list[float]] = {}
    for one in objects:
        scores.setdefault((one["image_id"], one["category_id"]), []).append(one["score"])
    names = {one["category_id"]: one["category"] for one in objects}
    by_id = {image["id"]: image for image in images}
    return [
        {
            "path": by_id[number]["path"],
            "picture": by_id[number]["picture"],
            "label": label,
            "class": names[label],
            "objects": len(of_class),
            "highest_score": max(of_class),
        }
        for (number, label), of_class in sorted(scores.items())
    ]


def _table(title: str, rows: Sequence[dict[str, Any]]) -> Table:
    """A table with one row per class, over all images."""
    shown = Table(title=escape(printable(title)), title_justify="left")
    shown.add_column("class", overflow="fold")
    for heading in ("objects", "images", "highest score"):
        shown.add_column(heading, justify="right")
    for label in sorted({row["label"] for row in rows}):
        own = [row for row in rows if row["label"] == label]
        shown.add_row(
            escape(printable(own[0]["class"])),
            f"{sum(row['objects'] for row in own):,}",
            f"{len(own):,}",
            f"{max(row['highest_score'] for row in own):.2f}",
        )
    return shown
