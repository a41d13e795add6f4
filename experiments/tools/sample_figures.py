"""Figures about a generator: its samples, what lies between and near them, their scores."""

from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, UInt8

from cnn_jax.data import Dataset, labels_of
from cnn_jax.models import GAN
from cnn_jax.tasks import Adversarial, frechet_distance
from cnn_jax.tasks.sample_scores import class_shares
from cnn_jax.training import Result, TrainState, Variables, evaluated_params
from cnn_jax.visual import (
    Picture,
    class_histogram,
    example_rows,
    grouped_bars,
    sample_sheet,
    training_curves,
)

SAMPLES = 96
ROWS, BETWEEN = 4, 8
"""Interpolations, and images of each."""
NEAREST = 8
"""Samples whose nearest training images are shown."""
BATCH = 500
MOST_IMAGES, MOST_SEARCHED = 10_000, 60_000
"""Images that are compared, and among which the nearest are looked for, at most."""
LEAST_SHARE = 0.03
"""Of the samples in a class; less is called a missing mode."""

Images = Float[np.ndarray, "n height width channels"]


def sample_pictures(task: Adversarial, dataset: Dataset) -> dict[str, Callable[[TrainState], Any]]:
    """The same latents at every evaluation."""

    def samples(state: TrainState) -> Any:
        variables = {"params": evaluated_params(state), **state.model_state}
        images = generate(task.model, variables, *fixed_latents(task.model, SAMPLES))
        return sample_sheet(images, title=f"{dataset.title}: samples of the generator")

    return {"samples": samples}


def sample_figures() -> dict[str, Callable[[Result], Any]]:
    """The figures of a result whose task is `Adversarial`, by file name."""
    return {
        "curves": lambda result: training_curves(
            result.rows, title=_title(result, "training; the loss is the generator's")
        ),
        "samples": _samples,
        "interpolation": _interpolation,
        "nearest": _nearest,
    }


def compared_samples(result: Result) -> dict[str, Any]:
    """Figures that compare samples with real images by a classifier, by file name."""
    return {"classes": _classes(result), "scores": _scores(result)}


def generate(
    model: GAN, variables: Variables, latents: Any, labels: Any = None, *, batch: int = BATCH
) -> Images:
    """Images in [0, 1] of latents and, for a class-conditional model, labels."""
    # The classifier is not needed here.
    variables = {name: tree for name, tree in variables.items() if name != "constants"}
    parts = []
    for start in range(0, len(latents), batch):
        part = slice(start, start + batch)
        of_part = None if labels is None else jnp.asarray(labels[part])
        parts.append(np.asarray(_made(model, variables, jnp.asarray(latents[part]), of_part)))
    return np.concatenate(parts) / 2 + 0.5


@partial(jax.jit, static_argnums=0)
def _made(model: GAN, variables: Variables, latents: Array, labels: Array | None) -> Any:
    return model.apply(variables, latents, labels, method="generate")


def fixed_latents(model: GAN, number: int, seed: int = 0) -> tuple[Any, Any]:
    """Latents, and for a class-conditional model labels, all classes in turn."""
    generator: Any = model.generator
    latents = jax.random.normal(jax.random.key(seed), (number, generator.latent))
    classes = generator.num_classes
    return latents, np.arange(number, dtype=np.int32) % classes if classes else None


def interpolate(start: Any, end: Any, number: int) -> Float[np.ndarray, "number latent"]:
    """Latents from one to another on the great circle between them.

    Latents of many numbers have nearly the same length; on a straight line they would be shorter
    (White 2016, "Sampling generative networks").
    """
    start, end = np.asarray(start, np.float64), np.asarray(end, np.float64)
    lengths = np.linalg.norm(start), np.linalg.norm(end)
    cosine = np.clip(start @ end / max(lengths[0] * lengths[1], 1e-12), -1, 1)
    angle, shares = np.arccos(cosine), np.linspace(0, 1, number)[:, None]
    if np.sin(angle) < 1e-6:
        path = (1 - shares) * start + shares * end
    else:
        path = np.sin((1 - shares) * angle) * start + np.sin(shares * angle) * end
        path = path / np.sin(angle)
    return path.astype(np.float32)


def _samples(result: Result) -> Any:
    model = _task(result).model
    images = generate(model, result.variables, *fixed_latents(model, SAMPLES))
    return sample_sheet(images, title=_title(result, "samples of the generator"))


def _interpolation(result: Result) -> Any:
    model = _task(result).model
    ends, labels = fixed_latents(model, 2 * ROWS)
    latents = np.concatenate(
        [interpolate(ends[2 * row], ends[2 * row + 1], BETWEEN) for row in range(ROWS)]
    )
    if labels is not None:
        labels = np.repeat(labels[:ROWS], BETWEEN)
    images = generate(model, result.variables, latents, labels).reshape(
        ROWS, BETWEEN, *result.experiment.dataset.image_shape
    )
    rows = {f"{row + 1}": [Picture(image) for image in images[row]] for row in range(ROWS)}
    return example_rows(rows, title=_title(result, "from one latent to another"))


def _nearest(result: Result) -> Any:
    model = _task(result).model
    samples = generate(model, result.variables, *fixed_latents(model, SAMPLES))[:NEAREST]
    real = _real(result.experiment.dataset, "train", MOST_SEARCHED)
    pixels = real.reshape(len(real), -1)
    lengths = np.einsum("ij,ij->i", pixels, pixels)
    near = [int(np.argmin(lengths - 2 * pixels @ sample.ravel())) for sample in samples]
    found = real[near]
    distances = np.square(found - samples).sum(axis=(1, 2, 3))
    rows = {
        "sample": [Picture(sample) for sample in samples],
        "nearest training image": [
            Picture(image, caption=f"squared distance {distance:.1f}")
            for image, distance in zip(found, distances, strict=True)
        ],
    }
    return example_rows(rows, title=_title(result, "samples and the training images nearest them"))


def _classes(result: Result) -> Any:
    dataset, split = result.experiment.dataset, result.held_out
    _, classes = _classified(result, _generated(result))
    labels = labels_of(dataset.splits[split])
    labels = labels[_places(len(labels), MOST_IMAGES)]
    _, found = _classified(result, _real(dataset, split, MOST_IMAGES))
    right = float(np.mean(found == labels))
    shares = {
        name: class_shares(values, dataset.num_classes)
        for name, values in (("samples", classes), (f"{split} images", labels))
    }
    return class_histogram(
        dataset.class_names,
        shares,
        title=_title(
            result, f"classes of samples by a classifier ({right:.1%} of {split} images right)"
        ),
        least=LEAST_SHARE,
    )


def _scores(result: Result) -> Any:
    """The distance of the features from held-out images, of samples and of what to expect."""
    task, dataset, split = _task(result), result.experiment.dataset, result.held_out
    held_out, _ = _classified(result, _real(dataset, split, MOST_IMAGES))
    number = len(held_out)
    fresh_params, fresh_state = task.init(jax.random.key(1), dataset.spec)
    untrained = {"params": fresh_params, **fresh_state}
    compared = {
        "samples": _generated(result)[:number],
        "untrained generator": generate(
            task.model, untrained, *fixed_latents(task.model, number, seed=1)
        ),
        "training images": _real(dataset, "train", number),
    }
    distances = {
        name: frechet_distance(held_out, _classified(result, images)[0])
        for name, images in compared.items()
    }
    return grouped_bars(
        {f"from {number:,} {split} images": distances},
        ylabel="feature FID",
        title=_title(result, "Fréchet distance of a classifier's features"),
    )


def _generated(result: Result) -> Images:
    return result.outputs(result.held_out)[:MOST_IMAGES] / 2 + 0.5


def _classified(result: Result, images: Images) -> tuple[np.ndarray, np.ndarray]:
    """The classifier's features and classes of images in [0, 1]."""
    constants = {"constants": result.variables["constants"]}
    parts = [
        _classify(
            _task(result),
            constants,
            jnp.asarray(images[start : start + BATCH] * 2 - 1, jnp.float32),
        )
        for start in range(0, len(images), BATCH)
    ]
    features, classes = zip(*parts, strict=True)
    return np.concatenate(features), np.concatenate(classes)


@partial(jax.jit, static_argnums=0)
def _classify(task: Adversarial, constants: Any, images: Array) -> Any:
    return task.classify(constants, images)


def real_images(
    dataset: Dataset, split: str, most: int
) -> UInt8[np.ndarray, "n height width channels"]:
    """Images of a split, at most so many, evenly spaced."""
    examples = dataset.splits[split]
    places = _places(len(examples), most)
    arrays = getattr(examples, "arrays", None)
    if arrays is not None:
        return np.asarray(arrays["image"])[places]
    return np.stack([examples[int(place)]["image"] for place in places])


def _real(dataset: Dataset, split: str, most: int) -> Images:
    """`real_images` in [0, 1]."""
    return real_images(dataset, split, most).astype(np.float32) / 255


def _places(count: int, most: int) -> np.ndarray:
    return np.linspace(0, count - 1, min(count, most)).astype(int)


def _task(result: Result) -> Adversarial:
    return result.experiment.task


def _title(result: Result, what: str) -> str:
    return f"{result.experiment.dataset.title}: {what}"
