"""Segment images: the class of every pixel, as masks, overlays, a table and a figure.

    python -m experiments.segment --run runs/unet/1234abcd photos/
    python -m experiments.segment --model deeplabv3_resnet50 photos/*.jpg
    python -m experiments.segment --run runs/unet/1234abcd --own-size --tile 1024 slides/

The network sees each whole image at the scale that it was trained at, unless --own-size is given.
Its classes are resized to the image's own size. Folders are searched recursively. Files that cannot
be read are listed at the end. Writes masks/ (PNGs whose values are the classes, with a palette),
overlays/, classes.csv, and segmentations.png, a picture of the first images.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import UInt8
from PIL import Image as PillowImage
from rich.console import Console
from rich.markup import escape
from rich.table import Table
from tyro.conf import OmitArgPrefixes, Positional

from cnn_jax.errors import check_range
from cnn_jax.models import UNet, predict_tiles
from cnn_jax.pretrained import Network
from cnn_jax.visual import (
    SegmentedImage,
    class_colours,
    overlaid,
    save_figure,
    segmentation_rows,
)
from experiments.tools.command_line import run_tool
from experiments.tools.image_files import BadImage, check_any, find_images, read_images, show_bad
from experiments.tools.messages import printable, say
from experiments.tools.networks import NetworkConfig, as_segmenter, load_any_network
from experiments.tools.output import OutputConfig, output_folder, slug, write_csv, writing
from experiments.tools.run import set_up_jax

SHOWN = 6
"""Largest number of images in the table and the figure. The files contain all images."""
LONGEST_SHOWN = 640
"""Pixels of the longer side of an image in the figure."""

Image = UInt8[np.ndarray, "height width 3"]
Mask = UInt8[np.ndarray, "height width"]


@dataclass(frozen=True)
class Options:
    """Images, network and output."""

    images: Positional[tuple[str, ...]]
    """Image files, and folders of them."""
    network: OmitArgPrefixes[NetworkConfig] = field(default_factory=NetworkConfig)
    own_size: bool = False
    """Let the network see images at their own size, not resized to that of its training images."""
    tile: int = 0
    """Height and width of the parts in which an image is segmented, in pixels as the network sees
    them, for images that are too large at once; 0: whole images."""
    margin: int = 96
    """Border of a part whose classes are taken from the parts beside it; half of what a class
    depends on leaves no seams."""
    opacity: float = 0.55
    """Of the classes' colours over the images, between 0 and 1."""
    output: OmitArgPrefixes[OutputConfig] = field(default_factory=OutputConfig)

    def __post_init__(self) -> None:
        check_range(self, 0, tile=self.tile, margin=self.margin)
        check_range(self, 0, 1, opacity=self.opacity)


def make_segment(
    network: Network, *, own_size: bool = False, tile: int = 0, margin: int = 96
) -> Callable[[Image], Mask]:
    """A function that gives the class of every pixel of an image, at the image's own size.

    Args:
        network: for segmentation, of at most 256 classes.
        own_size: whether the network sees the image at its own size.
        tile: height and width of the parts of an image that is larger; 0 takes whole images.
        margin: of the parts.

    Raises:
        ConfigError: tiles that do not cover an image.
    """
    model, seen = network.model, network.preprocessing
    if isinstance(model, UNet) and model.border == "valid":
        # The same parameters; its outputs are only those in the middle of the image.
        model = model.clone(border="mirror")
    height, width, _ = seen.image_shape
    whole = replace(seen, resize=0, crop=0)
    variables: Any = jax.device_put(network.variables)
    stride = max(model.feature_strides().values())

    @jax.jit
    def classes(variables: Any, inputs: Any) -> Any:
        logits: Any = model.apply(variables, inputs)
        return jnp.argmax(logits, axis=-1).astype(jnp.uint8)

    def predict(inputs: np.ndarray) -> np.ndarray:
        return np.asarray(classes(variables, inputs))

    def segment(image: Image) -> Mask:
        size = image.shape[1::-1]  # width and height
        if own_size:
            inputs = whole(image)
        else:
            shorter = seen.resize if not seen.crop else _covering(size, width, height)
            inputs = replace(whole, resize=shorter)(image)
        if tile and max(inputs.shape[:2]) > tile:
            step = max((tile - 2 * margin) // stride * stride, 0)
            mask = predict_tiles(predict, inputs, tile=tile, margin=margin, step=step)
        else:
            mask = predict(inputs[None])[0]
        return _resized(mask, size, PillowImage.Resampling.NEAREST)

    return segment


def _covering(size: tuple[int, int], width: int, height: int) -> int:
    """The shorter side, with which an image covers a width and height, as in its training."""
    factor = max(width / size[0], height / size[1])
    return max(1, round(factor * min(size)))


def _resized(
    pixels: np.ndarray, size: tuple[int, int], resampling: PillowImage.Resampling
) -> np.ndarray:
    if pixels.shape[1::-1] == size:
        return pixels
    return np.asarray(PillowImage.fromarray(pixels).resize(size, resampling))


def main(argv: Sequence[str] | None = None) -> None:
    """Run the tool."""
    run_tool("segment", Options, _run, description=__doc__, argv=argv)


def _run(options: Options, console: Console) -> None:
    set_up_jax()
    paths = find_images(options.images)
    network = as_segmenter(load_any_network(options.network))
    folder = output_folder(options.output, "segment", network.title)
    segment = make_segment(
        network, own_size=options.own_size, tile=options.tile, margin=options.margin
    )
    colours = class_colours(network.class_names)
    rows: list[dict[str, Any]] = []
    shown: list[SegmentedImage] = []
    bad: list[BadImage] = []
    done: list[Path] = []
    for path in paths:
        # One image is in memory at a time.
        good, unreadable = read_images([path])
        bad += unreadable
        for _, image in good:
            mask = segment(image)
            name = f"{len(done):04d}-{slug(path.stem)}.png"
            with writing(folder):
                _write_mask(folder / "masks" / name, mask, colours)
                overlay = overlaid(image, mask, colours, opacity=options.opacity)
                _write(folder / "overlays" / name, PillowImage.fromarray(overlay))
            rows += _shares(path, name, mask, network.class_names)
            if len(shown) < SHOWN:
                shown.append(_picture(path, image, mask))
            done.append(path)
    check_any(len(done), bad)
    with writing(folder):
        write_csv(folder / "classes.csv", rows)
        names = [printable(name) for name in network.class_names]
        more = f"; the first {len(shown)} of {len(done)} images" if len(done) > len(shown) else ""
        sheet = segmentation_rows(shown, names, title=printable(network.title) + more)
        save_figure(sheet, folder / "segmentations.png")
    console.print(_table(network, rows, done[:SHOWN]))
    images = f"{len(done)} image{'s' if len(done) > 1 else ''}"
    say(console, f"{images}; see {folder}: masks/, overlays/, classes.csv, segmentations.png")
    show_bad(console, bad)


def _shares(path: Path, name: str, mask: Mask, class_names: Sequence[str]) -> list[dict[str, Any]]:
    """The classes of an image, the largest first."""
    counts = np.bincount(mask.ravel(), minlength=len(class_names))
    order = np.argsort(-counts, kind="stable")
    return [
        {
            "path": str(path),
            "mask": name,
            "label": int(label),
            "class": class_names[label],
            "pixels": int(counts[label]),
            "share": counts[label] / mask.size,
        }
        for label in order[counts[order] > 0]
    ]


def _picture(path: Path, image: Image, mask: Mask) -> SegmentedImage:
    height, width = mask.shape
    factor = min(1.0, LONGEST_SHOWN / max(height, width))
    size = max(1, round(factor * width)), max(1, round(factor * height))
    return SegmentedImage(
        _resized(image, size, PillowImage.Resampling.BILINEAR),
        None,
        {"classes": _resized(mask, size, PillowImage.Resampling.NEAREST)},
        printable(path.name),
    )


def _write_mask(path: Path, mask: Mask, colours: np.ndarray) -> None:
    picture = PillowImage.fromarray(mask)
    picture.putpalette(colours.tobytes())
    _write(path, picture)


def _write(path: Path, picture: PillowImage.Image) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    picture.save(path)


def _table(network: Network, rows: Sequence[dict[str, Any]], paths: Sequence[Path]) -> Table:
    """A table with one row per image."""
    shown = Table(title=escape(printable(network.title)), title_justify="left", show_lines=True)
    shown.add_column("image", overflow="fold")
    shown.add_column("class", overflow="fold")
    shown.add_column("pixels", justify="right")
    for path in paths:
        own = [row for row in rows if row["path"] == str(path)]
        shown.add_row(
            escape(printable(path)),
            escape("\n".join(printable(row["class"]) for row in own)),
            "\n".join(f"{row['share']:.1%}" for row in own),
        )
    return shown
