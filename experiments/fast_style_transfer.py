"""Fast style transfer: a network learns to give any image a style in one pass.

Lecture: "Style transfer". Source: Johnson et al. 2016, with instance normalization (Ulyanov et al.
2016): one network for one style. `--model adain` is Huang and Belongie 2017: one network for any
style. Both learn from the losses that style transfer by optimization minimizes.

    python -m experiments.fast_style_transfer --style painting.jpg --data.name ./photographs
    python -m experiments.fast_style_transfer --model adain --style paintings/ --data.name …
    python -m experiments.stylize --run runs/fast_style_transfer/1234abcd photos/

Without --data.name the images are parts of scikit-learn's two photographs.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np
from tyro.conf import OmitArgPrefixes

from cnn_jax.data import ArraySplit, DataConfig, Dataset, load_dataset, random_flip
from cnn_jax.data.folders import is_folder_name
from cnn_jax.errors import ConfigError, check_range
from cnn_jax.models import VGG, AdaIN, TransformationNetwork
from cnn_jax.models.transformation import Upsampling
from cnn_jax.pretrained import Preprocessing
from cnn_jax.tasks import AnyStyle, FastStyle
from cnn_jax.training import (
    ControlConfig,
    Experiment,
    OptimizerConfig,
    TrainingConfig,
    TrainState,
    Variables,
    compute_dtype,
    evaluated_params,
)
from cnn_jax.visual import picture_rows, training_curves
from experiments.tools.image_files import check_any, find_images, read_images
from experiments.tools.photographs import load_photograph
from experiments.tools.pictures import as_pixels, read_picture, resized
from experiments.tools.run import run
from experiments.tools.style_network import StyleNetwork, StyleNetworkConfig, load_style_network

PARTS, HELD_OUT = 256, 16
"""Parts of the photographs for training and for validation."""
LEAST_PART = 0.3
"""Side of the smallest part, of the height of a photograph."""
AUTO_SIZE = 128
"""Height and width of the images if none is given, in pixels."""
SHOWN = 4
"""Validation images that are drawn in the style during training."""


@dataclass(frozen=True)
class Config:
    """A network for a style, or for any."""

    model: Literal["johnson", "adain"] = "johnson"
    """johnson: a network for one style; adain: one for any, trained with many."""
    style: str = ""
    """Picture of the style; with adain a folder of pictures. By default a photograph of a flower;
    with adain the training images themselves."""
    style_size: int = 256
    """Longer side of the style in pixels; with adain its pictures are cut to the images'
    size."""
    network: OmitArgPrefixes[StyleNetworkConfig] = field(default_factory=StyleNetworkConfig)
    width: int = 32
    """Channels of the first convolution of johnson; the residual blocks have four times as many."""
    blocks: int = 5
    """Residual blocks of johnson."""
    upsampling: Upsampling = "nearest"
    """How johnson enlarges maps: by repeated pixels or by transposed convolution."""
    content_weight: float = 1.0
    """Weight of the content loss, which is relative to the image's own maps."""
    style_weight: float = 10.0
    """Weight of the style loss, which is relative to the style's own statistics."""
    variation_weight: float = 1.0
    """Weight of the total variation; more makes the results smoother."""
    data: DataConfig = field(default_factory=DataConfig)
    optimizer: OptimizerConfig = field(
        default_factory=lambda: OptimizerConfig(name="adam", learning_rate=1e-3)
    )
    training: TrainingConfig = field(
        default_factory=lambda: TrainingConfig(
            duration="2000 steps",
            batch_size=4,
            evaluate_every="200 steps",
            save_every="500 steps",
            eval_batch_size=8,
        )
    )
    control: ControlConfig = field(default_factory=ControlConfig)

    def __post_init__(self) -> None:
        check_range(self, 1, width=self.width, blocks=self.blocks)
        check_range(self, 16, 8192, style_size=self.style_size)
        check_range(self, 0, content_weight=self.content_weight, style_weight=self.style_weight)
        check_range(self, 0, variation_weight=self.variation_weight)


SMOKE = replace(
    Config(),
    style_size=64,
    network=StyleNetworkConfig(network="own"),
    width=2,
    blocks=1,
    data=DataConfig(image_size=32),
    training=TrainingConfig(
        duration="12 steps", batch_size=8, evaluate_every="6 steps", eval_batch_size=8
    ),
)


def build(config: Config) -> Experiment:
    """The experiment that a configuration describes."""
    dataset, network = load_pictures(config.data), load_style_network(config.network)
    dataset = replace(dataset, notes=(*dataset.notes, *network.notes))
    make = _for_one_style if config.model == "johnson" else _for_any_style
    dataset, task, initialize, trainable = make(config, dataset, network)
    return Experiment(
        dataset=dataset,
        task=task,
        optimizer=config.optimizer,
        training=config.training,
        control=config.control,
        initialize=initialize,
        trainable=trainable,
        figures={
            "curves": lambda result: training_curves(
                result.rows, title=f"{dataset.title}, by the features of {network.title}"
            )
        },
        pictures={"styled": partial(_while_training, dataset, task)},
    )


def load_pictures(config: DataConfig) -> Dataset:
    """The images, as RGB: those of a data set, or parts of two photographs."""
    size = config.image_size or AUTO_SIZE
    if config.name == "auto":
        splits = {"train": _parts(PARTS, size, 0), "validation": _parts(HELD_OUT, size, 1)}
        note = (
            f"training on parts of {size}x{size} pixels of scikit-learn's two photographs; for "
            "better results name a folder of many photographs with --data.name"
        )
        return Dataset(
            name="photographs",
            title="parts of two photographs",
            splits={name: ArraySplit({"image": images}) for name, images in splits.items()},
            class_names=(),
            augment=(random_flip(),),
            stand_in=True,
            notes=(note,),
        )
    if is_folder_name(config.name):
        config = replace(config, image_size=size)
    dataset = load_dataset(config, default="", augment=[random_flip()], target="image")
    channels = dataset.image_shape[-1]
    if channels == 1 and all(isinstance(one, ArraySplit) for one in dataset.splits.values()):
        return replace(dataset, splits={k: _rgb(one) for k, one in dataset.splits.items()})
    return dataset


def _rgb(split: Any) -> ArraySplit:
    """A gray split with three equal channels."""
    return ArraySplit({**split.arrays, "image": np.repeat(split.arrays["image"], 3, axis=-1)})


def _parts(count: int, size: int, seed: int) -> np.ndarray:
    """Random squares of the two photographs; those of other seeds are others."""
    rng = np.random.default_rng(seed)
    photographs = [as_pixels(load_photograph(name, 427)) for name in ("temple", "flower")]
    parts = np.empty((count, size, size, 3), np.uint8)
    for number in range(count):
        photograph = photographs[number % 2]
        side = int(rng.uniform(LEAST_PART, 1) * photograph.shape[0])
        top, left = (int(rng.integers(0, n - side + 1)) for n in photograph.shape[:2])
        part = photograph[top : top + side, left : left + side]
        parts[number] = as_pixels(resized(part, size))
    return parts


def _scaled(dataset: Dataset, largest: float) -> Dataset:
    """The data set with pixels from 0 to a number in place of normalized ones."""
    return replace(dataset, mean=(0.0,) * 3, std=(1 / largest,) * 3)


def _for_one_style(config: Config, dataset: Dataset, network: StyleNetwork) -> Any:
    path = config.style
    picture = read_picture(path) if path else as_pixels(load_photograph("flower", 427))
    style = jnp.asarray(255 * resized(picture, config.style_size), jnp.float32)[None]
    if min(style.shape[1:3]) < network.least_size:
        raise ConfigError(
            f"the style has {style.shape[2]}x{style.shape[1]} pixels, and the layers "
            f"{', '.join(network.style_layers)} need at least {network.least_size}: use a larger "
            "--style-size or other --style-layers"
        )
    task = FastStyle(
        model=TransformationNetwork(
            config.width,
            config.blocks,
            config.upsampling,
            dtype=compute_dtype(config.training.precision),
        ),
        network=network.model,
        mean=network.mean,
        std=network.std,
        content_layers=network.content_layers,
        style_layers=network.style_layers,
        content_weight=config.content_weight,
        style_weight=config.style_weight,
        variation_weight=config.variation_weight,
    )

    def initialize(fresh: Variables, earlier: Mapping[str, Any]) -> Variables:
        grams = jax.jit(task.grams)(network.variables, style)
        return fresh | {"constants": {"network": network.variables, "grams": grams}}

    return _scaled(dataset, 255), task, initialize, None


def _for_any_style(config: Config, dataset: Dataset, network: StyleNetwork) -> Any:
    if not isinstance(network.model, VGG):
        raise ConfigError(
            f"--model adain decodes the maps of a VGG, got {network.title}: name another --network"
        )
    last = f"conv{min(4, len(network.model.stage_sizes))}_1"
    model = AdaIN(
        network.model.clone(pooling="max").until(last),
        network.mean,
        network.std,
        dtype=compute_dtype(config.training.precision),
    )
    layers = tuple(name for name in network.style_layers if name in model.vgg.feature_strides())
    styles = _styles(config, dataset)
    task = AnyStyle(model, layers, len(styles), config.style_weight, config.variation_weight)

    def initialize(fresh: Variables, earlier: Mapping[str, Any]) -> Variables:
        changed = {"constants": {"styles": jnp.asarray(styles)}}
        for collection, of_encoder in network.variables.items():
            kept = _same(fresh[collection]["encoder"], of_encoder)
            changed[collection] = {**fresh[collection], "encoder": kept}
        return fresh | changed

    return _scaled(dataset, 1), task, initialize, AnyStyle.trainable


def _same(shape: Any, values: Any) -> Any:
    """The values of a tree that another one has too."""
    if not isinstance(shape, Mapping):
        return jnp.asarray(values)
    return {name: _same(below, values[name]) for name, below in shape.items()}


def _styles(config: Config, dataset: Dataset) -> np.ndarray:
    """The pictures of style, cut to the images' size."""
    height, width, _ = dataset.image_shape
    if not config.style:
        train: Any = dataset.splits["train"]
        return np.stack([np.asarray(train[place]["image"]) for place in range(min(64, len(train)))])
    good, bad = read_images(find_images([config.style]))
    check_any(len(good), bad)
    crop = Preprocessing(0, (height, width), (0.0,) * 3, (1.0,) * 3)
    return np.stack([crop.resize_and_crop(image) for _, image in good])


def _while_training(dataset: Dataset, task: Any, state: TrainState) -> Any:
    """Some held-out images, and what the network makes of them."""
    name = "validation" if "validation" in dataset.splits else "train"
    split: Any = dataset.splits[name]
    places = range(min(SHOWN, len(split)))
    images = np.stack([np.asarray(split[place]["image"]) for place in places])
    scale = 255 * dataset.std[0]
    batch = {
        "image": jnp.asarray(images, jnp.float32) / scale,
        "place": jnp.arange(len(images)),
    }
    styled = jax.jit(task.predict)(evaluated_params(state), state.model_state, batch)
    outputs = np.asarray(styled) * scale / 255
    rows = [
        {f"{name} {n}": image for n, image in enumerate(images)},
        {f"styled {n}": as_pixels(output) for n, output in enumerate(outputs)},
    ]
    return picture_rows(rows, title=f"{dataset.title}, after {int(state.step):,} steps")


if __name__ == "__main__":
    run(Config, build, smoke=SMOKE)
