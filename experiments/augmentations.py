"""Every augmentation of the library, drawn: image, boxes and mask move together.

Lecture: "use dataset augmentation". Nothing is trained; it draws one row per augmentation.

    python -m experiments.augmentations                             scikit-learn's photographs
    python -m experiments.augmentations --data.name cifar10 --seed 3
"""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import tyro
from matplotlib.figure import Figure
from rich.markup import escape

from cnn_jax.data import (
    IGNORED,
    Augment,
    DataConfig,
    Example,
    Mix,
    augment_examples,
    colour_jitter,
    cutmix,
    cutout,
    load_dataset,
    mixup,
    normalize,
    random_brightness,
    random_contrast,
    random_crop,
    random_elastic,
    random_flip,
    random_hue,
    random_lighting,
    random_noise,
    random_resized_crop,
    random_rotation,
    random_saturation,
    random_scale,
    random_scale_crop,
    random_translation,
)
from cnn_jax.data.augment import PLACED, suited_to
from cnn_jax.errors import check_range
from cnn_jax.visual import Picture, example_rows, save_figure
from experiments.tools.console import standard_console
from experiments.tools.messages import user_errors
from experiments.tools.photographs import load_photograph

PHOTOGRAPHS = "photographs"
# Normalized values from -SHOWN to SHOWN are drawn from black to white.
SHOWN = 2.5


@dataclass(frozen=True)
class Config:
    """What to augment, how often, and where to write the sheet."""

    data: DataConfig = field(default_factory=lambda: DataConfig(name=PHOTOGRAPHS))
    """"photographs" are two of scikit-learn's, one with boxes and a mask; or a data set."""
    draws: int = 5
    """Augmented images in each row, beside the original."""
    height: int = 128
    """Height of the photographs in pixels."""
    seed: int = 0
    """Seed of all augmentations."""
    workdir: str = "runs"
    """The sheet is written to WORKDIR/augmentations/DATA.png."""
    smoke: bool = False
    """Draw two augmentations of photographs of 32 pixels, to test that everything works."""

    def __post_init__(self) -> None:
        check_range(self, 1, draws=self.draws, height=self.height)
        check_range(self, 0, seed=self.seed)


@dataclass(frozen=True)
class Subject:
    """Two examples of different classes, and the normalization of their data set."""

    title: str
    name: str
    examples: tuple[Example, Example]
    class_names: tuple[str, str]
    mean: tuple[float, ...]
    std: tuple[float, ...]


def photographs(height: int) -> Subject:
    """scikit-learn's flower, with boxes and mask of its two blossoms, and its temple."""
    temple, flower = load_photograph("temple", height), load_photograph("flower", height)
    red, green, blue = flower[..., 0], flower[..., 1], flower[..., 2]
    # Orange petals and their dark red centre.
    blossoms = ((red > 0.45) & (red - blue > 0.1)) | (red - green > 0.15)
    # Leave out the few pixels of a third blossom at the right border.
    blossoms[:, round(0.75 * flower.shape[1]) :] = False
    boxes, mask = [], np.zeros(blossoms.shape, np.int32)
    between = round(0.86 * height)
    for number, rows in enumerate((slice(0, between), slice(between, height)), start=1):
        mask[rows][blossoms[rows]] = number
        y, x = np.nonzero(mask == number)
        boxes.append([x.min(), y.min(), x.max() + 1, y.max() + 1])
    first: Example = {
        "image": jnp.asarray(flower),
        "boxes": jnp.asarray(boxes, jnp.float32),
        "mask": jnp.asarray(mask),
    }
    pixels = np.stack([flower, temple]).reshape(-1, 3).astype(np.float64)
    return Subject(
        title="two photographs of scikit-learn",
        name=PHOTOGRAPHS,
        examples=(first, {"image": jnp.asarray(temple)}),
        class_names=("flower", "temple"),
        mean=tuple(pixels.mean(axis=0).tolist()),
        std=tuple(pixels.std(axis=0).tolist()),
    )


def from_dataset(config: DataConfig, seed: int) -> Subject:
    """Two training examples, of different classes where images have one."""
    dataset = load_dataset(config, default="cifar10")
    split = dataset.splits["train"]
    order = np.random.default_rng(seed).permutation(len(split))
    one = split[int(order[0])]
    others = (split[int(index)] for index in order[1:])
    names = "one image", "another one"
    if "label" in one:
        other = next(other for other in others if other["label"] != one["label"])
        names = dataset.class_names[int(one["label"])], dataset.class_names[int(other["label"])]
    else:
        other = next(others)
    first, second = (
        {name: jnp.asarray(value) for name, value in example.items() if name in PLACED}
        | {"image": jnp.asarray(example["image"], jnp.float32) / 255}
        for example in (one, other)
    )
    title = f"{dataset.title}, train"
    return Subject(title, dataset.name, (first, second), names, dataset.mean, dataset.std)


def augmentations(side: int) -> dict[str, tuple[Augment, ...]]:
    """The rows, named by their code; lengths in pixels suit images of `side` pixels."""
    padding, square = max(1, side // 8), max(1, side // 3)
    return {
        f"random_crop({padding})": (random_crop(padding),),
        f'random_crop({padding}, "reflect")': (random_crop(padding, "reflect"),),
        "random_resized_crop()": (random_resized_crop(),),
        "random_scale(0.6, 1.6)": (random_scale(0.6, 1.6),),
        "random_scale_crop()": (random_scale_crop(),),
        f"random_elastic({side / 32:g})": (random_elastic(side / 32),),
        "random_rotation(30)": (random_rotation(30),),
        "random_translation(0.2)": (random_translation(0.2),),
        "random_flip()": (random_flip(),),
        "random_brightness(0.6)": (random_brightness(0.6),),
        "random_contrast(0.8)": (random_contrast(0.8),),
        "random_saturation(1.0)": (random_saturation(1.0),),
        "random_hue(0.5)": (random_hue(0.5),),
        "colour_jitter()": (colour_jitter(),),
        "random_lighting(1.0)": (random_lighting(1.0),),
        "random_noise(0.1)": (random_noise(0.1),),
        f"cutout({square})": (cutout(square),),
        "random_resized_crop(), random_flip(), colour_jitter()": (
            random_resized_crop(),
            random_flip(),
            colour_jitter(),
        ),
    }


def draw_sheet(subject: Subject, draws: int, seed: int) -> tuple[Figure, tuple[str, ...]]:
    """The sheet, and a note for each augmentation that does not suit the images."""
    first = subject.examples[0]
    height, width, channels = first["image"].shape
    key = jax.random.key(seed)
    original = _picture(first)
    rows: dict[str, list[Picture]] = {}
    notes: list[str] = []
    copies = jax.tree.map(lambda value: jnp.stack([value] * draws), first)
    apply = jax.jit(augment_examples, static_argnums=0)
    for number, (name, augment) in enumerate(augmentations(min(height, width)).items()):
        kept, changed = suited_to(augment, subject.name, (height, width, channels))
        notes += [note for note in changed if note not in notes]
        if not kept:
            continue
        keys = jax.random.split(jax.random.fold_in(key, number), draws)
        drawn = apply(kept, keys, copies)
        rows[name] = [original]
        for index in range(draws):
            rows[name].append(_picture(jax.tree.map(lambda value, i=index: value[i], drawn)))
    mixtures: dict[str, Mix] = {"mixup(1.0)": mixup(1.0), "cutmix(1.0)": cutmix(1.0)}
    for number, (name, mix) in enumerate(mixtures.items(), start=len(rows)):
        keys = jax.random.split(jax.random.fold_in(key, number), draws)
        rows[name] = [Picture(first["image"], caption=subject.class_names[0])]
        rows[name] += [_mixture(subject, mix, one) for one in keys]
    rows["normalize"] = [original, *_normalized(subject)]
    title = f"{subject.title}: augmentations, each beside the original"
    return example_rows(rows, title=title, ignored=IGNORED), tuple(notes)


def _picture(example: Example) -> Picture:
    return Picture(example["image"], example.get("boxes"), example.get("mask"))


def _mixture(subject: Subject, mix: Mix, key: jax.Array) -> Picture:
    images = jnp.stack([example["image"] for example in subject.examples])
    mixed, labels = mix(key, images, jnp.eye(2))
    shares = zip(np.asarray(labels[0]), subject.class_names, strict=True)
    return Picture(mixed[0], caption=", ".join(f"{share:.2f} {name}" for share, name in shares))


def _normalized(subject: Subject) -> list[Picture]:
    image = normalize(subject.examples[0]["image"][None], subject.mean, subject.std)[0]
    low, high = float(image.min()), float(image.max())
    shown = 0.5 + image / (2 * SHOWN)
    return [Picture(shown, caption=f"{low:.1f} to {high:.1f}; 0 is gray")]


def main(argv: Sequence[str] | None = None) -> None:
    """Draw the sheet and print its path."""
    console = standard_console()
    with user_errors(console):
        config = tyro.cli(
            Config, prog="python -m experiments.augmentations", description=__doc__, args=argv
        )
        if config.smoke:
            config = replace(config, draws=2, height=32)
        if config.data.name == PHOTOGRAPHS:
            subject = photographs(config.height)
        else:
            subject = from_dataset(config.data, config.seed)
    figure, notes = draw_sheet(subject, config.draws, config.seed)
    for note in notes:
        console.print(f"[yellow]note:[/] {escape(note)}", highlight=False, soft_wrap=True)
    file_name = subject.name.strip("./").replace("/", "_")
    path = Path(config.workdir, "augmentations", f"{file_name}.png")
    save_figure(figure, path)
    console.print(f"[dim]see {escape(str(path))}[/]", highlight=False, soft_wrap=True)


if __name__ == "__main__":
    main()
