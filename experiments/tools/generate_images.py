"""Images that a generator makes, for the tool `generate`."""

from dataclasses import dataclass, field
from typing import Any

import jax
import numpy as np
from PIL import Image as PillowImage
from tyro.conf import OmitArgPrefixes

from cnn_jax.errors import ConfigError, check_range
from cnn_jax.pretrained import Network
from cnn_jax.visual import Picture, example_rows, sample_sheet, save_figure
from experiments.tools.messages import printable
from experiments.tools.output import OutputConfig, output_folder, writing
from experiments.tools.sample_figures import generate, interpolate

MOST_BETWEEN, MOST_SHOWN = 1000, 400


@dataclass(frozen=True)
class ImageOptions:
    """Which images a generator makes, and where they are written."""

    label: str = ""
    """Class of the images, its name or number; of a class-conditional network. By default all
    classes in turn."""
    truncation: float = 0.0
    """Draw latents anew where they are larger than this: more typical images, and less various;
    0: do not."""
    between: int = 0
    """Make so many images from each sample to the next one, both included; 0: the samples alone."""
    output: OmitArgPrefixes[OutputConfig] = field(default_factory=OutputConfig)

    def __post_init__(self) -> None:
        check_range(self, 0, truncation=self.truncation)
        check_range(self, 0, MOST_BETWEEN, between=self.between)


def write_images(network: Network, options: ImageOptions, *, samples: int, seed: int) -> str:
    """Write the images and a sheet of them; returns a line that says where.

    Args:
        network: of the task `Adversarial`.
        options: which images.
        samples: number of latents.
        seed: decides them.

    Raises:
        ConfigError: a label of an unconditional network, or that is none of its classes; one
            sample and images between samples.
        UserError: files that cannot be written.
    """
    model: Any = network.model
    if options.between and samples < 2:
        raise ConfigError(f"--between needs at least 2 --samples, got {samples}")
    labels = _labels(network, options.label, samples)
    latents = draw_latents(model.generator.latent, samples, seed, options.truncation)
    rows = 1
    if options.between:
        rows = samples - 1
        pairs = [interpolate(latents[i], latents[i + 1], options.between) for i in range(rows)]
        latents = np.concatenate(pairs)
        # The class of the first one.
        labels = None if labels is None else np.repeat(labels[:-1], options.between)
    folder = output_folder(options.output, "generate", network.title)
    images = generate(model, network.variables, latents, labels)
    with writing(folder):
        (folder / "images").mkdir(parents=True, exist_ok=True)
        for number, image in enumerate(np.round(images * 255).astype(np.uint8)):
            pixels = image[..., 0] if image.shape[-1] == 1 else image
            PillowImage.fromarray(pixels).save(folder / "images" / f"{number:05}.png")
        save_figure(_sheet(network, images, rows, options.between), folder / "samples.png")
    return f"{len(images)} images; see {folder}: images/, samples.png"


def draw_latents(size: int, samples: int, seed: int, truncation: float) -> np.ndarray:
    """Normal latents [samples, size], none beyond the truncation if it is not 0."""
    key, shape = jax.random.key(seed), (samples, size)
    if truncation:
        return np.asarray(jax.random.truncated_normal(key, -truncation, truncation, shape))
    return np.asarray(jax.random.normal(key, shape))


def _labels(network: Network, label: str, samples: int) -> np.ndarray | None:
    """The class of each sample; None if the network is unconditional."""
    classes = network.model.generator.num_classes
    names = network.class_names or tuple(map(str, range(classes)))
    if not classes:
        if label:
            raise ConfigError(
                f"{network.title} was trained without classes, so it cannot make images of "
                f"{label!r}; train one with --conditional"
            )
        return None
    if not label:
        return np.arange(samples, dtype=np.int32) % classes
    if label in names:
        number = names.index(label)
    elif label.isdecimal() and int(label) < classes:
        number = int(label)
    else:
        raise ConfigError(
            f"--label {label!r} is no class of {network.title}; there are {', '.join(names)}"
        )
    return np.full(samples, number, np.int32)


def _sheet(network: Network, images: np.ndarray, rows: int, between: int) -> Any:
    title = printable(network.title)
    if not between:
        more = f"; the first {MOST_SHOWN} of {len(images)}" if len(images) > MOST_SHOWN else ""
        return sample_sheet(images[:MOST_SHOWN], title=title + more)
    shown = images.reshape(rows, between, *images.shape[1:])[:20, :20]
    return example_rows(
        {f"{row}": [Picture(image) for image in of_row] for row, of_row in enumerate(shown, 1)},
        title=title,
    )
