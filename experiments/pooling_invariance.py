"""Pooling makes features change less when the image moves by a few pixels.

Lecture: "Pooling". Nothing is trained: features are edges in photographs. Sources: LeCun et al.
1998, section II.A; Zhang 2019, "Making Convolutional Networks Shift-Invariant Again".

    python -m experiments.pooling_invariance                15 s: curves and example maps
    python -m experiments.pooling_invariance --window 8

Two claims are measured, both without a border: the content that moves in is the photograph's own.

Equivariance. A convolution commutes with translation: up to rounding the features of the moved
image are the moved features. With a stride of s this holds only for shifts by multiples of s.
Half-way between them, for a shift of 2 pixels and a stride of 4, features change by 105% with
strided convolution, by 51% with max pooling and by 58% with average pooling.

Invariance is approximate. The features at the same place change by:

    shift of the image       1 px    2 px    4 px    8 px    another place
    convolution               75%    105%    115%    119%    134%
    the same with stride 4    74%    106%    114%    119%    134%
    max pooling 4x4           33%     50%     74%     89%    123%
    average pooling 4x4       33%     56%     87%     99%    126%
    global max                 4%      8%     10%     16%     61%
    global average             1%      3%      5%      9%     76%

Pooling helps for shifts of a few pixels: a shift by its whole window changes most of the features.
Averaging over all positions is the extreme case, and even this change is not zero, because content
leaves and enters. Invariance has a price: features of *another* place become more similar too.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import tyro
from jaxtyping import Array, Float
from rich.markup import escape
from rich.table import Table

from cnn_jax.errors import check_range
from cnn_jax.layers import avg_pool, conv2d, global_avg_pool, global_max_pool, max_pool, relu
from cnn_jax.visual import Picture, change_over_shift, example_rows, save_figure
from experiments.tools.console import standard_console
from experiments.tools.messages import user_errors
from experiments.tools.photographs import load_photograph

Images = Float[Array, "batch height width channels"]
Features = Callable[[Images], Images]


@dataclass(frozen=True)
class Config:
    """How far photographs are moved, and how their features are pooled."""

    window: int = 4
    """Height, width and stride of the pooling, and stride of the strided convolution."""
    shifts: int = 8
    """Images are moved by 0 to this many pixels, along one axis at a time."""
    crops: int = 16
    """Number of crops of the two photographs whose changes are averaged."""
    size: int = 128
    """Height and width of a crop's feature map before pooling, in pixels."""
    height: int = 320
    """Height of the photographs in pixels."""
    seed: int = 0
    """Seed of the places of the crops."""
    workdir: str = "runs"
    """Figures are written to WORKDIR/pooling_invariance."""
    smoke: bool = False
    """Use two small crops, to test that everything works."""

    def __post_init__(self) -> None:
        check_range(
            self,
            1,
            window=self.window,
            shifts=self.shifts,
            crops=self.crops,
            size=self.size,
            height=self.height,
        )
        check_range(self, 0, seed=self.seed)


def edge_kernels() -> Float[np.ndarray, "3 3 3 8"]:
    """Edges in eight directions (Sobel's kernels and their diagonals) of the gray image."""
    across = np.array([[-1, 0, 1], [-2, 0, 2], [-1, 0, 1]]) / 8
    diagonal = np.array([[-2, -1, 0], [-1, 0, 1], [0, 1, 2]]) / 8
    turned = [np.rot90(kernel, turns) for kernel in (across, diagonal) for turns in range(4)]
    # Each kernel is applied to the mean of red, green and blue.
    return np.stack([np.stack([kernel] * 3, axis=-1) / 3 for kernel in turned], axis=-1)


def edges(images: Images, stride: int = 1) -> Images:
    """Convolution with edge kernels, and ReLU; maps are two pixels smaller than the images."""
    return relu(conv2d(images, jnp.asarray(edge_kernels(), images.dtype), stride=stride))


@dataclass(frozen=True)
class Layer:
    """A convolution and what follows it; one position of its maps is `stride` pixels."""

    features: Features
    stride: int = 1
    everywhere: bool = False
    """Whether there is one value for the whole map, and so no position that moves."""


def layers(window: int) -> dict[str, Layer]:
    """The compared layers by name."""
    name = f"{window}x{window}"
    return {
        "convolution": Layer(edges),
        f"stride {window}": Layer(lambda x: edges(x, window), window),
        f"max pooling {name}": Layer(lambda x: max_pool(edges(x), window), window),
        f"average pooling {name}": Layer(lambda x: avg_pool(edges(x), window), window),
        "global max": Layer(lambda x: global_max_pool(edges(x))[:, None, None, :], everywhere=True),
        "global average": Layer(
            lambda x: global_avg_pool(edges(x))[:, None, None, :], everywhere=True
        ),
    }


def draw_windows(config: Config) -> Float[np.ndarray, "crops height width 3"]:
    """Windows of the photographs with room for all shifts, downwards and to the right."""
    generator = np.random.default_rng(config.seed)
    # The 3x3 kernel takes two pixels.
    side = config.size + 2 + config.shifts
    windows = []
    for number in range(config.crops):
        photograph = load_photograph(("temple", "flower")[number % 2], config.height)
        top = generator.integers(photograph.shape[0] - side + 1)
        left = generator.integers(photograph.shape[1] - side + 1)
        windows.append(photograph[top : top + side, left : left + side])
    return np.stack(windows)


def moved(windows: Images, shift: int, axis: int, shifts: int) -> Images:
    """Crops of the windows, moved by `shift` pixels along the axis (1: rows, 2: columns)."""
    side = windows.shape[1] - shifts
    start = {1: (shift, 0), 2: (0, shift)}[axis]
    return windows[:, start[0] : start[0] + side, start[1] : start[1] + side]


def relative_change(new: Images, old: Images) -> float:
    """||new - old|| / ||old|| of the features of all images together.

    In a mean over images, an image of blurred background would outweigh all others.
    """
    return float(jnp.linalg.norm((new - old).ravel()) / jnp.linalg.norm(old.ravel()))


def invariance(layer: Layer, windows: Images, shifts: int) -> list[float]:
    """Change of the features at the same place for each shift, averaged over both axes."""
    features = jax.jit(layer.features)
    before = features(moved(windows, 0, 1, shifts))
    changes = [
        [
            relative_change(features(moved(windows, shift, axis, shifts)), before)
            for shift in range(shifts + 1)
        ]
        for axis in (1, 2)
    ]
    return [float(value) for value in np.mean(changes, axis=0)]


def equivariance(layer: Layer, windows: Images, shifts: int) -> list[float]:
    """Difference from the features moved by the nearest whole number of positions."""
    features = jax.jit(layer.features)
    before = features(moved(windows, 0, 1, shifts))

    def error(shift: int, axis: int) -> float:
        # Python's round would round halves to even numbers.
        positions = int(shift / layer.stride + 0.5)
        after = features(moved(windows, shift, axis, shifts))
        common = before.shape[axis] - positions
        return relative_change(
            jax.lax.slice_in_dim(after, 0, common, axis=axis),
            jax.lax.slice_in_dim(before, positions, None, axis=axis),
        )

    errors = [[error(shift, axis) for shift in range(shifts + 1)] for axis in (1, 2)]
    return [float(value) for value in np.mean(errors, axis=0)]


def between_places(layer: Layer, windows: Images, shifts: int) -> float:
    """Relative difference between the features of different places."""
    features = jax.jit(layer.features)(moved(windows, 0, 1, shifts))
    return relative_change(jnp.roll(features, 1, axis=0), features)


def example_maps(
    layers: Mapping[str, Layer], photograph: np.ndarray, shift: int
) -> dict[str, list[Picture]]:
    """Rows of a figure: a map before and after a shift to the right, and their difference."""
    side = photograph.shape[1] - shift
    images = [jnp.asarray(photograph[None, :, start : start + side]) for start in (0, shift)]
    captions = "the image", f"moved by {shift} pixels"
    rows = {
        "image": [Picture(one[0], caption=text) for one, text in zip(images, captions, strict=True)]
    }
    for name, layer in layers.items():
        if layer.everywhere:
            continue
        # Kernel 0 detects edges from dark to bright.
        before, after = (layer.features(image)[0, ..., :1] for image in images)
        change = relative_change(after[None], before[None])
        # Few responses are large; square roots make the small ones visible.
        largest = float(jnp.maximum(before.max(), after.max()))
        shown = [jnp.sqrt(array / largest) for array in (before, after, abs(after - before))]
        rows[name] = [Picture(one) for one in shown]
        rows[name][2] = Picture(shown[2], caption=f"difference: {change:.0%}")
    return rows


def main(argv: Sequence[str] | None = None) -> None:
    """Measure, draw both figures and print the changes."""
    console = standard_console()
    with user_errors(console):
        config = tyro.cli(
            Config, prog="python -m experiments.pooling_invariance", description=__doc__, args=argv
        )
    if config.smoke:
        config = replace(config, crops=2, size=16, height=64)
    compared, shifts = layers(config.window), range(config.shifts + 1)
    windows = jnp.asarray(draw_windows(config))
    changes = {name: invariance(one, windows, config.shifts) for name, one in compared.items()}
    errors = {
        name: equivariance(one, windows, config.shifts)
        for name, one in compared.items()
        if not one.everywhere
    }
    elsewhere = {
        name: between_places(one, windows, config.shifts) for name, one in compared.items()
    }
    labels = {name: f"{name} (elsewhere {elsewhere[name]:.0%})" for name in compared}
    directory = Path(config.workdir, "pooling_invariance")
    title = f"{config.crops} crops of two photographs of scikit-learn: edges, then pooling"
    save_figure(
        change_over_shift(
            list(shifts),
            {
                "features at the same place": {labels[k]: v for k, v in changes.items()},
                "features moved along with the image": {labels[k]: v for k, v in errors.items()},
            },
            title=title,
        ),
        directory / "changes.png",
    )
    # Half of the stride is the largest distance from its multiples.
    shift = max(1, config.window // 2)
    side = min(config.size // 2, 64)
    photograph = load_photograph("temple", config.height // 2)
    top, left = (photograph.shape[0] - side) // 2, (photograph.shape[1] - side) // 2
    middle = photograph[top : top + side + 2, left : left + side + 2 + shift]
    save_figure(
        example_rows(
            example_maps(compared, middle, shift),
            title="One feature map (edges from dark to bright), square roots of its values",
        ),
        directory / "maps.png",
    )
    # All shifts would not fit into a terminal.
    some = [shift for shift in (1, 2, 4, 8) if shift in shifts]
    table = Table(title=title, title_justify="left")
    table.add_column("features")
    for heading in (*(f"{shift} px" for shift in some), "elsewhere"):
        table.add_column(heading, justify="right")
    for name, values in changes.items():
        table.add_row(name, *(f"{values[shift]:.1%}" for shift in some), f"{elsewhere[name]:.1%}")
    for name, values in errors.items():
        table.add_row(f"{name}, moved along", *(f"{values[shift]:.1%}" for shift in some), "")
    console.print(table)
    console.print(f"[dim]see {escape(str(directory))}/*.png[/]", highlight=False, soft_wrap=True)


if __name__ == "__main__":
    main()
