"""Measure generated images by their Fréchet Inception distance from real ones (FID).

    python -m experiments.fid --run runs/dcgan/1234abcd/gan                  from held-out images
    python -m experiments.fid --run runs/dcgan/1234abcd/gan --split train --samples 50000
    python -m experiments.fid --run runs/dcgan/1234abcd/gan --features own   without Inception v3
    python -m experiments.fid generated/ photos/                             of two folders

FID, Inception Score, precision and recall are those of torch-fidelity: the features and outputs are
of TensorFlow's Inception v3 of 2015 with its public weights. As many samples as real images are
compared. FID grows with fewer images, so compare only values of equally many; published ones are of
10,000 or 50,000. The row "training images" has the scores of real images in place of samples.

`--features own` takes the classifier that the run has trained in place of Inception v3. Its
distance is called feature FID, and is comparable for that classifier alone. Writes scores.csv.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import UInt8
from rich.console import Console
from rich.markup import escape
from rich.progress import Progress
from rich.table import Table
from tyro.conf import OmitArgPrefixes, Positional

from cnn_jax import pretrained
from cnn_jax.data import DataConfig
from cnn_jax.errors import ConfigError, UserError, check_range
from cnn_jax.models import GAN
from cnn_jax.models.inception import fid_input
from cnn_jax.pretrained import Network
from cnn_jax.saved_run import load_run
from cnn_jax.tasks import frechet_distance, inception_score, precision_recall
from experiments.tools.command_line import run_tool
from experiments.tools.console import progress_bar
from experiments.tools.evaluation_data import Role, load_data
from experiments.tools.image_files import check_any, find_images, read_images
from experiments.tools.messages import printable, say
from experiments.tools.networks import checkpoint_of_run
from experiments.tools.output import OutputConfig, output_folder, write_csv, writing
from experiments.tools.report import note, number
from experiments.tools.run import set_up_jax
from experiments.tools.sample_figures import fixed_latents, generate, real_images

PUBLIC = "fid_inception_v3"
FEWEST_USUAL = 10_000
"""Images of published values."""
ORDER_SEED = 2020
"""Of torch-fidelity's order of the images, whose parts the Inception Score is a mean over."""

Pixels = UInt8[np.ndarray, "_height _width _channels"]
Measure = Callable[[Sequence[Pixels]], dict[str, np.ndarray]]
"""Gives the features of a batch of images and, of Inception v3, its probabilities."""


@dataclass(frozen=True)
class Options:
    """Generated images, and real ones."""

    images: Positional[tuple[str, ...]] = ()
    """Two folders, of generated images and of real ones; or --run."""
    run: str = ""
    """Directory of a run of dcgan, followed by /gan: its samples are compared with its data."""
    checkpoint: str = ""
    """With --run: best (on the validation split), last, or the number of a step; by default the one
    whose metrics the run's final table shows."""
    data: DataConfig = field(default_factory=DataConfig)
    """With --run: the name auto is the run's own data."""
    split: Role = "auto"
    """With --run: the real images. auto: those that the run's final table ends with."""
    samples: int = FEWEST_USUAL
    """With --run: images of each kind, at most as many as the split has."""
    seed: int = 0
    """With --run: decides the samples."""
    features: Literal["public", "own"] = "public"
    """public: of Inception v3 with the public weights; own: of the run's own classifier."""
    batch_size: int = 50
    """Images per call of the network."""
    output: OmitArgPrefixes[OutputConfig] = field(default_factory=OutputConfig)

    def __post_init__(self) -> None:
        check_range(self, 2, samples=self.samples)
        check_range(self, 0, seed=self.seed)
        check_range(self, 1, batch_size=self.batch_size)


def public_measure() -> Measure:
    """Features and probabilities of TensorFlow's Inception v3 with the public weights.

    Raises:
        UserError: the weights cannot be had; the message says how to download them by hand.
    """
    try:
        network = pretrained.load(PUBLIC)
    except UserError as error:
        raise UserError(
            f"{error}\nOr measure by the classifier of a run of dcgan: --features own, whose "
            "distance is not the published FID."
        ) from None
    return inception_measure(network)


def inception_measure(network: Network, size: int = 299) -> Measure:
    """`public_measure` of a network that is there.

    Args:
        network: a `fid_inception_v3`.
        size: height and width that images are stretched to.
    """
    model = network.model.clone(num_classes=0)

    @jax.jit
    def compute(variables: Any, inputs: Any) -> tuple[Any, Any]:
        features: Any = model.apply(variables, inputs)
        # The bias is left out, as in the first implementation of the Inception Score.
        kernel = variables["params"]["head"]["kernel"]
        return features, jax.nn.softmax(features @ kernel)

    resize = jax.jit(lambda images: fid_input(images.astype(jnp.float32), size))
    # Transferred once, not with every batch.
    variables: Any = jax.device_put(network.variables)

    def measure(images: Sequence[Pixels]) -> dict[str, np.ndarray]:
        # Without it, accelerators round the factors of products to fewer digits.
        with jax.default_matmul_precision("highest"):
            inputs = jnp.concatenate([resize(_rgb(image)[None]) for image in images])
            features, probabilities = compute(variables, inputs)
        return {"features": np.asarray(features), "probabilities": np.asarray(probabilities)}

    return measure


def own_measure(network: Network) -> Measure:
    """Features of the classifier of a run.

    Raises:
        ConfigError: the run has trained none.
    """
    task: Any = network.task
    if not task.classifier:
        raise ConfigError(f"{network.title} has no classifier of its own: use --features public")
    constants = {"constants": network.variables["constants"]}
    classify = jax.jit(lambda variables, images: task.classify(variables, images)[0])

    def measure(images: Sequence[Pixels]) -> dict[str, np.ndarray]:
        inputs = np.stack(images).astype(np.float32) / 255 * 2 - 1
        return {"features": np.asarray(classify(constants, inputs))}

    return measure


def measured(
    measure: Measure, images: Sequence[Pixels], *, batch_size: int, progress: Progress, name: str
) -> dict[str, np.ndarray]:
    """What a measure gives for all images, with a bar of that name.

    The last batch is filled up with its last image, which avoids a second compilation.
    """
    size = min(batch_size, len(images))
    parts: list[dict[str, np.ndarray]] = []
    task = progress.add_task(name, total=len(images))
    for start in range(0, len(images), size):
        batch = [images[place] for place in range(start, min(start + size, len(images)))]
        found = measure([*batch, *batch[-1:] * (size - len(batch))])
        parts.append({key: values[: len(batch)] for key, values in found.items()})
        progress.advance(task, len(batch))
    return {key: np.concatenate([part[key] for part in parts]) for key in parts[0]}


def scores(real: Mapping[str, np.ndarray], fake: Mapping[str, np.ndarray]) -> dict[str, float]:
    """The scores of generated images, by what `measured` gives of them and of real ones.

    Raises:
        ConfigError: fewer than two images, or than ten for the Inception Score.
    """
    distance = frechet_distance(real["features"], fake["features"])
    precision, recall = precision_recall(real["features"], fake["features"])
    if "probabilities" not in fake:
        return {"feature_fid": distance, "precision": precision, "recall": recall}
    probabilities = fake["probabilities"]
    order = np.random.RandomState(ORDER_SEED).permutation(len(probabilities))
    score, deviation = inception_score(probabilities[order])
    return {
        "fid": distance,
        "inception_score": score,
        "inception_score_deviation": deviation,
        "precision": precision,
        "recall": recall,
    }


@dataclass(frozen=True)
class Files(Sequence[Pixels]):
    """The images in files, read when they are asked for."""

    paths: Sequence[Path]

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, place: Any) -> Any:
        good, bad = read_images([self.paths[place]])
        check_any(len(good), bad)
        return good[0][1]


def _rgb(image: Pixels) -> Pixels:
    return np.repeat(image, 3, axis=-1) if image.shape[-1] == 1 else image


def main(argv: Sequence[str] | None = None) -> list[dict[str, Any]]:
    """Run the tool; returns the rows of its table."""
    return run_tool("fid", Options, _run, description=__doc__, argv=argv)


def _run(options: Options, console: Console) -> list[dict[str, Any]]:
    set_up_jax()
    if bool(options.run) == bool(options.images) or len(options.images) not in (0, 2):
        raise ConfigError(
            "which images? Give --run DIRECTORY or two folders, of generated and of real images, "
            f"got {len(options.images)} folders{' and --run' * bool(options.run)}"
        )
    network = load_run(options.run, checkpoint_of_run(options.checkpoint)) if options.run else None
    if network and not isinstance(network.model, GAN):
        raise ConfigError(
            f"{network.title}: expected a generator of images, got a run of the task "
            f"{type(network.task).__name__}; name a run of dcgan"
        )
    if options.features == "public":
        measure = public_measure()
    elif network:
        measure = own_measure(network)
    else:
        raise ConfigError("--features own is the classifier of a --run; leave it out with folders")
    folder = output_folder(options.output, "fid", network.title if network else "folders")
    title, real, compared = (
        _of_run(options, network, console) if network else _of_folders(options.images)
    )
    fewest = min(len(real), *map(len, compared.values()))
    if options.features == "public" and fewest < FEWEST_USUAL:
        note(
            console, f"FID grows with fewer images; published ones are of {FEWEST_USUAL:,} or more"
        )
    with progress_bar(console) as progress:

        def found(images: Sequence[Pixels], name: str) -> dict[str, np.ndarray]:
            size = options.batch_size
            return measured(measure, images, batch_size=size, progress=progress, name=name)

        of_real = found(real, "real images")
        rows = [
            {"images": name, "number": len(images)} | scores(of_real, found(images, name))
            for name, images in compared.items()
        ]
    console.print(_table(title, rows))
    with writing(folder):
        write_csv(folder / "scores.csv", rows)
    say(console, f"see {folder}: scores.csv")
    return rows


def _of_run(
    options: Options, network: Network, console: Console
) -> tuple[str, Sequence[Pixels], dict[str, Sequence[Pixels]]]:
    """A title, the real images, and those that are compared with them, by name."""
    dataset, split, changed = load_data(options.data, options.run, options.split)
    for text in (*dataset.notes, *filter(None, [changed])):
        note(console, text)
    real = list(real_images(dataset, split, options.samples))
    latents, labels = fixed_latents(network.model, len(real), options.seed)
    # Bytes, as they would be in a file.
    samples = np.round(generate(network.model, network.variables, latents, labels) * 255)
    compared: dict[str, Sequence[Pixels]] = {"samples": list(samples.astype(np.uint8))}
    if split != "train":
        training, _, _ = load_data(options.data, options.run, "train")
        compared["training images"] = list(real_images(training, "train", len(real)))
    return f"{network.title}, from {len(real):,} {split} images", real, compared


def _of_folders(
    folders: Sequence[str],
) -> tuple[str, Sequence[Pixels], dict[str, Sequence[Pixels]]]:
    """`_of_run` of two folders."""
    made, real = (Files(find_images([folder])) for folder in folders)
    return f"{folders[0]}, from {len(real):,} images of {folders[1]}", real, {folders[0]: made}


def _table(title: str, rows: Sequence[Mapping[str, Any]]) -> Table:
    shown = Table(title=escape(printable(title)), title_justify="left")
    for name in rows[0]:
        justify: Any = "left" if name == "images" else "right"
        shown.add_column(name.replace("_", " "), justify=justify, overflow="fold")
    for row in rows:
        name, count, *_ = row.values()
        values = [number(*item) for item in list(row.items())[2:]]
        shown.add_row(escape(printable(name)), f"{count:,}", *values)
    return shown


if __name__ == "__main__":
    main()
