"""Save the features of a layer for a folder of images, and find similar images.

    python -m experiments.features --model resnet50 images/
    python -m experiments.features --model vgg16 --layer conv5_3 --pool none images/
    python -m experiments.features --run runs/resnet_cifar/1234abcd --neighbours query.jpg images/

Writes features.npz with the arrays `paths`, `features` (one row per image), `layer` and `network`.
With --neighbours it also draws the nearest images in the folder for each image named there, as
neighbours.png.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, Literal

import jax.numpy as jnp
import numpy as np
from jaxtyping import Float32, UInt8
from matplotlib.figure import Figure
from rich.console import Console
from sklearn.neighbors import NearestNeighbors
from tyro.conf import OmitArgPrefixes, Positional

from cnn_jax.errors import ConfigError, check_range
from cnn_jax.models.summary import feature_shapes
from cnn_jax.pretrained import Network
from cnn_jax.visual import image_grid, save_figure
from experiments.tools.command_line import run_tool
from experiments.tools.feature_maps import check_feature
from experiments.tools.image_files import BadImage, find_images, read_images, show_bad
from experiments.tools.messages import printable, say
from experiments.tools.networks import NetworkConfig, load_network
from experiments.tools.on_files import outputs_of_files
from experiments.tools.output import OutputConfig, output_folder, writing
from experiments.tools.run import set_up_jax

Pool = Literal["mean", "none"]


@dataclass(frozen=True)
class Options:
    """Images, network and layer."""

    images: Positional[tuple[str, ...]]
    """Image files, and folders of them."""
    network: OmitArgPrefixes[NetworkConfig] = field(default_factory=NetworkConfig)
    layer: str = ""
    """Name of the features, such as stage3; by default the last ones before the classifier."""
    pool: Pool = "mean"
    """mean: average feature maps over positions, one number per channel; none: keep the maps."""
    neighbours: tuple[str, ...] = ()
    """Images to find neighbours of."""
    count: int = 8
    """Number of neighbours of each image."""
    metric: Literal["cosine", "euclidean"] = "cosine"
    """Distance between features."""
    batch_size: int = 32
    """Images per call of the network."""
    output: OmitArgPrefixes[OutputConfig] = field(default_factory=OutputConfig)

    def __post_init__(self) -> None:
        check_range(self, 1, count=self.count, batch_size=self.batch_size)


def extract(
    network: Network, paths: Sequence[Path], *, layer: str, pool: Pool, batch_size: int
) -> tuple[list[Path], Float32[np.ndarray, "n *features"], list[BadImage]]:
    """The features of all readable files.

    Args:
        network: network that computes the features.
        paths: files from `find_images`. One batch of images is in memory at a time.
        layer: name of the features.
        pool: whether feature maps are averaged over positions.
        batch_size: images per batch.

    Returns:
        The readable files, their features in the same order, and the unreadable files.

    Raises:
        UserError: no file can be read.
    """

    def features(variables: Any, inputs: Any) -> Any:
        every: Any = network.model.apply(variables, inputs, method="features")
        found = every[layer].astype(jnp.float32)
        return found.mean(axis=(1, 2)) if pool == "mean" and found.ndim == 4 else found

    return outputs_of_files(features, network, paths, batch_size=batch_size)


def neighbour_sheet(
    network: Network,
    queries: Sequence[Path],
    of_queries: Float32[np.ndarray, "queries *features"],
    paths: Sequence[Path],
    features: Float32[np.ndarray, "n *features"],
    *,
    count: int,
    metric: Literal["cosine", "euclidean"],
    title: str,
) -> Figure:
    """A sheet with a row for each query: the image, then its neighbours with their distances.

    Raises:
        ConfigError: there is no other image.
    """
    # An image is not its own neighbour.
    others = [
        [index for index, path in enumerate(paths) if path.resolve() != query.resolve()]
        for query in queries
    ]
    count = min(count, *map(len, others))
    if count < 1:
        raise ConfigError("there is no other image to find neighbours in")
    images: list[np.ndarray] = []
    captions: list[str] = []
    for query, own, candidates in zip(queries, of_queries, others, strict=True):
        search = NearestNeighbors(n_neighbors=count, metric=metric, algorithm="brute")
        search.fit(features[candidates].reshape(len(candidates), -1))
        distances, indices = search.kneighbors(own.reshape(1, -1))
        nearest = [paths[candidates[index]] for index in indices[0]]
        images.extend(_seen(network, path) for path in [query, *nearest])
        captions.append(f"{printable(query.name)}\n(query)")
        captions.extend(
            f"{printable(path.name)}\n{distance:.3g}"
            for path, distance in zip(nearest, distances[0], strict=True)
        )
    return image_grid(np.stack(images), captions, title=title, columns=count + 1)


def _seen(network: Network, path: Path) -> UInt8[np.ndarray, "height width channels"]:
    ((_, image),), _ = read_images([path])
    return network.preprocessing.resize_and_crop(image)


def main(argv: Sequence[str] | None = None) -> None:
    """Run the tool."""
    run_tool("features", Options, _run, description=__doc__, argv=argv)


def _run(options: Options, console: Console) -> None:
    set_up_jax()
    paths = find_images(options.images)
    network = load_network(options.network)
    folder = output_folder(options.output, "features", network.title)
    shapes = feature_shapes(network.model, network.preprocessing.image_shape)
    if not shapes:
        raise ConfigError(f"{network.title}: the network has no layers before its output")
    layer = options.layer or list(shapes)[-1]
    check_feature(layer, shapes)
    features = partial(
        extract, network, layer=layer, pool=options.pool, batch_size=options.batch_size
    )
    paths, found, bad = features(paths)
    with writing(folder):
        names = np.array([str(path) for path in paths])
        file = folder / "features.npz"
        np.savez(file, paths=names, features=found, layer=layer, network=network.title)
    shape = " x ".join(map(str, found.shape[1:]))
    images = f"{len(paths)} image{'s' if len(paths) > 1 else ''}"
    say(console, f"{file}: {layer} of {images}, {shape} numbers each")
    if options.neighbours:
        queries, of_queries, unreadable = features(find_images(options.neighbours))
        bad = [*bad, *unreadable]
        sheet = neighbour_sheet(
            network,
            queries,
            of_queries,
            paths,
            found,
            count=options.count,
            metric=options.metric,
            title=f"{printable(network.title)}: neighbours by {layer}, {options.metric} distance",
        )
        with writing(folder):
            save_figure(sheet, folder / "neighbours.png")
        say(console, str(folder / "neighbours.png"))
    show_bad(console, bad)
