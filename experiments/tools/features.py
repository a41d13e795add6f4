"""Save the features of a layer for a folder of images, and find similar images.

    python -m experiments.features --model resnet50 images/
    python -m experiments.features --model vgg16 --layer conv5_3 --pool none images/
    python -m experiments.features --run runs/resnet_cifar/1234abcd --neighbours query.jpg images/

Writes an npz file with the arrays `paths`, `features` (one row per image), `layer` and `network`.
With --neighbours it also draws the nearest images in the folder for each image named there.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float32, UInt8
from matplotlib.figure import Figure
from rich.console import Console
from rich.markup import escape
from sklearn.neighbors import NearestNeighbors
from tyro.conf import OmitArgPrefixes, Positional

from cnn_jax.errors import ConfigError
from cnn_jax.models.summary import feature_shapes
from cnn_jax.pretrained import Network
from cnn_jax.visual import image_grid, save_figure
from experiments.tools.command_line import run_tool, writing
from experiments.tools.feature_maps import check_feature
from experiments.tools.image_files import BadImage, check_any, find_images, read_images, show_bad
from experiments.tools.networks import NetworkConfig, load_network
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
    output: str = "features.npz"
    """The output file. The sheet of neighbours has the same name with the suffix .png."""


def extract(
    network: Network, paths: Sequence[Path], *, layer: str, pool: Pool, batch_size: int
) -> tuple[list[Path], Float32[np.ndarray, "n *features"], list[BadImage]]:
    """The features of all readable files.

    Args:
        network: network that computes the features.
        paths: files from `find_images`. One batch of images is in memory at a time.
        layer: name of the features.
        pool: whether feature maps are averaged over positions.
        batch_size: images per batch. The last batch is padded to avoid a second compilation.

    Returns:
        The readable files, their features in the same order, and the unreadable files.
    """

    @jax.jit
    def features(variables: Any, inputs: Any) -> Any:
        every: Any = network.model.apply(variables, inputs, method="features")
        found = every[layer].astype(jnp.float32)
        return found.mean(axis=(1, 2)) if pool == "mean" and found.ndim == 4 else found

    # Transferred once, not with every batch.
    variables: Any = jax.device_put(network.variables)
    read: list[Path] = []
    rows: list[np.ndarray] = []
    bad: list[BadImage] = []
    for start in range(0, len(paths), batch_size):
        good, unreadable = read_images(paths[start : start + batch_size])
        bad.extend(unreadable)
        if not good:
            continue
        inputs = np.stack([network.preprocessing(image) for _, image in good])
        inputs = np.pad(inputs, ((0, batch_size - len(inputs)), (0, 0), (0, 0), (0, 0)))
        rows.append(np.asarray(features(variables, inputs))[: len(good)])
        read.extend(path for path, _ in good)
    check_any(len(read), bad)
    return read, np.concatenate(rows), bad


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
        captions.append(f"{query.name}\n(query)")
        captions.extend(
            f"{path.name}\n{distance:.3g}"
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
    if options.count < 1 or options.batch_size < 1:
        raise ConfigError(
            "--count and --batch-size must be at least 1, got "
            f"{options.count} and {options.batch_size}"
        )
    output = Path(options.output)
    if output.suffix != ".npz":
        raise ConfigError(f"--output is an .npz file, got {output}")
    set_up_jax()
    paths = find_images(options.images)
    network = load_network(options.network)
    image_shape = network.preprocessing.image_shape
    shapes = feature_shapes(network.model, image_shape)
    layer = options.layer or list(shapes)[-1]
    check_feature(layer, shapes)

    def features(paths: Sequence[Path]) -> Any:
        batch_size = min(options.batch_size, len(paths))
        return extract(network, paths, layer=layer, pool=options.pool, batch_size=batch_size)

    paths, found, bad = features(paths)
    with writing(output):
        output.parent.mkdir(parents=True, exist_ok=True)
        names = np.array([str(path) for path in paths])
        np.savez(output, paths=names, features=found, layer=layer, network=network.title)
    shape = " x ".join(map(str, found.shape[1:]))
    console.print(
        f"{escape(str(output))}: {layer} of {len(paths)} image{'s' if len(paths) > 1 else ''}, "
        f"{shape} numbers each",
        highlight=False,
        soft_wrap=True,
    )
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
            title=f"{network.title}: neighbours by {layer}, {options.metric} distance",
        )
        save_figure(sheet, output.with_suffix(".png"))
        console.print(escape(str(output.with_suffix(".png"))), highlight=False, soft_wrap=True)
    show_bad(console, bad)
