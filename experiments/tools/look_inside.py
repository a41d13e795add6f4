"""What does a network see in an image? One sheet per image.

    python -m experiments.look_inside --model resnet50 image.jpg
    python -m experiments.look_inside --model vgg16 --layer conv5_3 folder/ --explain tabby 207
    python -m experiments.look_inside --run runs/resnet_cifar/1234abcd images/

A sheet shows the most probable classes; Grad-CAM for the first class and for those of --explain;
the gradient of the logit and guided backpropagation; the probability with a gray square over parts
of the image; an image that maximizes the logit; the filters of the first layer; and the strongest
maps of some layers. Writes one PNG per image.

Large networks are slow on a CPU. Fewer --cells and --steps take less time.
"""

import difflib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import UInt8
from matplotlib.figure import Figure
from rich.console import Console
from tyro.conf import OmitArgPrefixes, Positional

from cnn_jax.errors import ConfigError, check_range
from cnn_jax.interpretability import (
    activation_maximization,
    grad_cam,
    guided_backpropagation,
    occlusion_map,
    saliency,
)
from cnn_jax.layers import resize_bilinear
from cnn_jax.models.summary import feature_shapes
from cnn_jax.pretrained import Network
from cnn_jax.visual import (
    Panel,
    Prediction,
    filter_mosaic,
    panel_sheet,
    save_figure,
    signed_image,
    strongest_maps,
)
from experiments.tools.command_line import run_tool
from experiments.tools.feature_maps import (
    check_feature,
    first_kernel,
    logits_and_features,
)
from experiments.tools.image_files import BadImage, check_any, find_images, read_images, show_bad
from experiments.tools.messages import printable, say
from experiments.tools.networks import NetworkConfig, load_network
from experiments.tools.output import OutputConfig, output_folder, writing
from experiments.tools.run import set_up_jax

MAPS = 4
"""Number of layers whose maps are shown by default."""
TOP = 5
"""Number of classes with a bar."""
SQUARE = 3
"""Height and width of the gray square in cells."""


@dataclass(frozen=True)
class Options:
    """Images, network and level of detail."""

    images: Positional[tuple[str, ...]]
    """Image files, and folders of them."""
    network: OmitArgPrefixes[NetworkConfig] = field(default_factory=NetworkConfig)
    explain: tuple[str, ...] = ()
    """Further classes for Grad-CAM, by name or number."""
    layer: str = ""
    """Feature map for Grad-CAM, such as stage3 (VGG: conv5_3); by default the last one."""
    layers: tuple[str, ...] = ()
    """Feature maps to show; by default some from the first to the last."""
    cells: int = 14
    """Positions of the gray square along the longer side of the image, at least."""
    steps: int = 128
    """Steps of activation maximization."""
    output: OmitArgPrefixes[OutputConfig] = field(default_factory=OutputConfig)

    def __post_init__(self) -> None:
        check_range(self, 1, cells=self.cells, steps=self.steps)


class Inside:
    """The methods of a sheet for one network, each compiled once for all images."""

    def __init__(self, network: Network, options: Options) -> None:
        self.network = network
        self.image_shape = network.preprocessing.image_shape
        self.shapes = feature_shapes(network.model, self.image_shape)
        maps = [name for name, shape in self.shapes.items() if len(shape) == 3]
        for name in (*options.layers, *filter(None, [options.layer])):
            check_feature(name, self.shapes)
            if name not in maps:
                raise ConfigError(
                    f"the features {name!r} are not maps; give one of {', '.join(maps) or 'none'}"
                )
        places = np.linspace(0, len(maps) - 1, min(MAPS, len(maps))).round().astype(int)
        self.shown = list(options.layers) or [maps[place] for place in places]
        self.layer = options.layer or (maps[-1] if maps else "")
        self.labels = [_label(text, network.class_names) for text in options.explain]
        self.stride = max(1, max(self.image_shape[:2]) // options.cells)
        self.steps = options.steps
        # Transferred once, not with every image.
        self.variables: Any = jax.device_put(network.variables)
        self.evidence = jax.jit(self._evidence)
        self.gradients = jax.jit(self._gradients)
        self.occluded = jax.jit(self._occluded)
        self.imagined = jax.jit(self._imagined)
        self.maps = jax.jit(self._forward)
        self.filters = self._filters()

    def _forward(self, variables: Any, images: Any) -> Any:
        """Logits and features of images in [0, 1]."""
        mean, std = (
            jnp.asarray(values, jnp.float32).reshape(1, 1, 1, -1)
            for values in (self.network.preprocessing.mean, self.network.preprocessing.std)
        )
        return logits_and_features(self.network.model, variables, (images - mean) / std)

    def _logit(self, variables: Any, label: Any) -> Callable[[Any], Any]:
        return lambda images: self._forward(variables, images)[0][:, label]

    def _evidence(self, variables: Any, images: Any, label: Any) -> Any:
        network = partial(self._forward, variables)
        maps = grad_cam(network, images, label[None], self.layer)
        return resize_bilinear(maps[..., None], images.shape[1:3])[0, ..., 0]

    def _gradients(self, variables: Any, images: Any, label: Any) -> Any:
        score = self._logit(variables, label)
        return saliency(score, images)[0], guided_backpropagation(score, images)[0]

    def _occluded(self, variables: Any, images: Any, label: Any) -> Any:
        def probability(images: Any) -> Any:
            return jax.nn.softmax(self._forward(variables, images)[0])[:, label]

        height, width = images.shape[1:3]
        square, stride = SQUARE * self.stride, self.stride
        scores = occlusion_map(probability, images[0], size=square, stride=stride)
        cells = jnp.repeat(jnp.repeat(scores, stride, axis=0), stride, axis=1)
        return cells[:height, :width]

    def _imagined(self, variables: Any, label: Any) -> Any:
        noise_key, jitter_key = jax.random.split(jax.random.key(0))
        start = 0.5 + 0.05 * jax.random.normal(noise_key, (1, *self.image_shape))
        return activation_maximization(
            self._logit(variables, label),
            start,
            jitter_key,
            steps=self.steps,
            jitter=max(1, max(self.image_shape[:2]) // 28),
        )[0]

    def _filters(self) -> Panel | None:
        """The kernels of the first convolution; None if there is no convolution."""
        kernel = first_kernel(self.network.model, self.network.variables, self.image_shape)
        if kernel is None:
            return None
        height, width, _, features = kernel.shape
        title = f"first layer: {features} filters of {height}x{width}"
        return Panel(title, filter_mosaic(kernel))

    def _evidence_panel(self, seen: np.ndarray, images: jax.Array, label: int) -> Panel:
        heat = np.asarray(self.evidence(self.variables, images, jnp.asarray(label)))
        found = "" if heat.any() else ", none"
        title = f"Grad-CAM at {self.layer}: {self.network.class_names[label]}{found}"
        return Panel(title, seen, heat, "evidence (logit)")

    def sheet(self, seen: UInt8[np.ndarray, "height width channels"], name: str) -> Figure:
        """The sheet of an image that is resized and cropped but not normalized."""
        images = jnp.asarray(seen, jnp.float32)[None] / 255
        logits, features = self.maps(self.variables, images)
        probabilities = np.asarray(jax.nn.softmax(logits[0]))
        top = np.argsort(-probabilities, kind="stable")[:TOP]
        names = self.network.class_names
        best = jnp.asarray(top[0])
        prediction = Prediction(
            seen, name, [names[label] for label in top], probabilities[top].tolist()
        )
        labels = dict.fromkeys([int(top[0]), *self.labels]) if self.layer else ()
        evidence = [self._evidence_panel(seen, images, label) for label in labels]
        plain, guided = self.gradients(self.variables, images, best)
        hidden = SQUARE * self.stride
        imagined = np.asarray(self.imagined(self.variables, best))
        why = [
            Panel("gradient of the logit", seen, np.asarray(plain), "largest of a pixel"),
            Panel("guided backpropagation", signed_image(guided)),
            Panel(
                f"probability with {hidden}x{hidden} pixels hidden around a place",
                seen,
                np.asarray(self.occluded(self.variables, images, best)),
                "probability",
            ),
            Panel(f"the network's image of {names[top[0]]}", imagined),
        ]
        layers = [self.filters] if self.filters else []
        for layer in self.shown:
            height, width, channels = self.shapes[layer]
            shown = strongest_maps(features[layer][0])
            strongest = f"{layer}: strongest of {channels} maps, {height}x{width}"
            layers.append(Panel(strongest, shown))
        return panel_sheet(prediction, [evidence, why, layers], title=self.network.title)


def _label(text: str, class_names: Sequence[str]) -> int:
    """The index of a class given by its number, or by its name in any case."""
    lowered = [name.lower() for name in class_names]
    if text.lower() in lowered:
        return lowered.index(text.lower())
    if text.isdecimal() and int(text) < len(class_names):
        return int(text)
    close = difflib.get_close_matches(text.lower(), lowered, n=3)
    hint = f"did you mean {', '.join(close)}?" if close else "give its name or number"
    raise ConfigError(f"there is no class {text!r} among the {len(class_names)}; {hint}")


def look(inside: Inside, paths: Sequence[Path], folder: Path) -> tuple[list[Path], list[BadImage]]:
    """Draw a sheet for each file. Returns the sheets, and the files that could not be read."""
    drawn: list[Path] = []
    bad: list[BadImage] = []
    for path in paths:
        good, unreadable = read_images([path])
        bad.extend(unreadable)
        for _, image in good:
            sheet = inside.sheet(
                inside.network.preprocessing.resize_and_crop(image), printable(path.name)
            )
            target = _free(folder / f"{path.stem}.png", drawn)
            save_figure(sheet, target)
            drawn.append(target)
    return drawn, bad


def _free(path: Path, taken: Sequence[Path]) -> Path:
    """The path, numbered if it is taken by an image of the same name from another folder."""
    numbered, number = path, 1
    while numbered in taken:
        number += 1
        numbered = path.with_stem(f"{path.stem}-{number}")
    return numbered


def main(argv: Sequence[str] | None = None) -> None:
    """Run the tool."""
    run_tool("look_inside", Options, _run, description=__doc__, argv=argv)


def _run(options: Options, console: Console) -> None:
    set_up_jax()
    paths = find_images(options.images)
    network = load_network(options.network)
    folder = output_folder(options.output, "look_inside", network.title)
    inside = Inside(network, options)
    with writing(folder):
        drawn, bad = look(inside, paths, folder)
    check_any(len(drawn), bad)
    for path in drawn:
        say(console, str(path))
    show_bad(console, bad)
