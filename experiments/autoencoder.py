"""Autoencoders: a small non-linear code keeps more of an image than a linear one of its size.

Is the encoder, trained without labels, also a better initialization of a classifier?

Lecture: "Autoencoder", "Non-linear dimensionality reduction", "Pretraining". Source: Hinton and
Salakhutdinov 2006 (784-1000-500-250-30 and its mirror image, compared with PCA), without the
layerwise pretraining that they needed. Autoencoders use all training images without labels.
Classifiers use the first examples of each class in the training split, equally many of every class.
All numbers are those of the final parameters.

    python -m experiments.autoencoder                       Fashion-MNIST, 30 epochs
    python -m experiments.autoencoder --no-convolutional    only the dense autoencoders
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

import jax
import numpy as np
from sklearn.decomposition import PCA

from cnn_jax.data import ArraySplit, DataConfig, Dataset, load_dataset
from cnn_jax.errors import ConfigError, check_range
from cnn_jax.models.autoencoder import Autoencoder, AutoencoderBase, EncoderClassifier
from cnn_jax.models.conv_autoencoder import ConvAutoencoder
from cnn_jax.models.mlp import KernelInit
from cnn_jax.tasks import Classification, Reconstruction
from cnn_jax.tasks.reconstruction import ReconstructionLoss
from cnn_jax.training import (
    ControlConfig,
    Experiment,
    OptimizerConfig,
    Result,
    TrainingConfig,
    TrainState,
    Variables,
    compute_dtype,
    evaluated_params,
)
from cnn_jax.visual import (
    code_scatter,
    grouped_bars,
    learning_curve,
    reconstructions,
    training_curves,
)
from experiments.tools.figures import classification_figures
from experiments.tools.run import run

PLANE = 2
"""Size of a code that can be drawn."""
STARTS = ("random", "encoder")
SHOWN = 10
"""Number of images whose reconstructions are drawn, one per class."""


@dataclass(frozen=True)
class Config:
    """Autoencoders and PCA, then classifiers that start from the encoder."""

    hidden: tuple[int, ...] = (1000, 500, 250)
    """Neurons of the encoder's hidden layers; the decoder mirrors them."""
    code: int = 30
    """Size of the code and components of PCA; another autoencoder has a code of 2."""
    activation: str = "relu"
    """Activation of the hidden layers; the code is linear."""
    kernel_init: KernelInit = "he"
    """Initialization of the dense layers."""
    loss: ReconstructionLoss = "squared"
    """Squared error or cross entropy of each pixel, both of sigmoid outputs."""
    convolutional: bool = True
    """Also train a convolutional autoencoder with a code of the same size."""
    labels: tuple[int, ...] = (100, 1000, 10000)
    """Numbers of labels; with each, one classifier starts at random and one from the encoder."""
    data: DataConfig = field(default_factory=DataConfig)
    optimizer: OptimizerConfig = field(
        default_factory=lambda: OptimizerConfig(
            name="adam", learning_rate=1e-3, schedule="cosine", warmup="1 epoch"
        )
    )
    training: TrainingConfig = field(
        default_factory=lambda: TrainingConfig(duration="30 epochs", save_every="10 epochs")
    )
    control: ControlConfig = field(default_factory=ControlConfig)
    classifier_optimizer: OptimizerConfig = field(
        default_factory=lambda: OptimizerConfig(
            name="adam", learning_rate=1e-3, schedule="cosine", warmup="100 steps"
        )
    )
    classifier_training: TrainingConfig = field(
        # In steps, so that all classifiers are trained equally long.
        default_factory=lambda: TrainingConfig(
            duration="2000 steps",
            batch_size=64,
            evaluate_every="250 steps",
            save_every="2000 steps",
        )
    )

    def __post_init__(self) -> None:
        check_range(self, 1, hidden=self.hidden, code=self.code, labels=self.labels)


_SHORT = TrainingConfig(duration="12 steps", batch_size=64)
SMOKE = replace(
    Config(),
    hidden=(32, 16),
    code=8,
    labels=(100,),
    data=DataConfig(name="digits"),
    optimizer=replace(Config().optimizer, warmup="4 steps"),
    training=_SHORT,
    classifier_optimizer=replace(Config().classifier_optimizer, warmup="4 steps"),
    classifier_training=replace(_SHORT, evaluate_every="4 steps"),
)


def build(config: Config) -> dict[str, Experiment]:
    """The autoencoders, then two classifiers per number of labels."""
    dataset = load(config.data)
    if dataset.stand_in and config == Config():
        config, dataset = for_stand_in(config, dataset)
    autoencoders = make_autoencoders(config, dataset)
    study = {
        name: Experiment(
            dataset=dataset,
            task=Reconstruction(model, loss=config.loss),
            optimizer=config.optimizer,
            training=config.training,
            control=config.control,
            figures={"curves": _curves},
            pictures={"reconstructions": partial(_while_training, dataset, model, config.loss)},
        )
        for name, model in autoencoders.items()
    }
    pretrained = f"code-{config.code}"

    def from_encoder(fresh: Variables, earlier: Mapping[str, Result]) -> Variables:
        encoder = earlier[pretrained].variables["params"]["encoder"]
        return fresh | {"params": fresh["params"] | {"body": encoder}}

    figures = classification_figures()
    there = len(dataset.splits["train"])
    for number in sorted({min(number, there) for number in config.labels}):
        for start in STARTS:
            model = EncoderClassifier(autoencoders[pretrained], dataset.num_classes)
            study[f"labels-{number}-{start}"] = Experiment(
                dataset=with_labels(dataset, number),
                task=Classification(model),
                optimizer=config.classifier_optimizer,
                training=config.classifier_training,
                control=config.control,
                initialize=from_encoder if start == "encoder" else None,
                figures={name: figures[name] for name in ("curves", "confusion")},
            )
    return study


def load(config: DataConfig) -> Dataset:
    """Load Fashion-MNIST or the named data set; pixels stay between 0 and 1."""
    dataset = load_dataset(config, default="fashion_mnist")
    if not all(isinstance(split, ArraySplit) for split in dataset.splits.values()):
        raise ConfigError(
            f"PCA needs all images at once, but {dataset.title} is streamed: choose a smaller "
            "data set, or --data.storage device"
        )
    channels = dataset.image_shape[-1]
    return replace(dataset, mean=(0.0,) * channels, std=(1.0,) * channels)


def for_stand_in(config: Config, dataset: Dataset) -> tuple[Config, Dataset]:
    """Use a smaller code and more epochs for the small embedded data set."""
    code, duration = 8, "150 epochs"
    note = (
        f"codes of {code} numbers instead of {config.code}, and {duration} instead of "
        f"{config.training.duration}: there are only {len(dataset.splits['train']):,} images of "
        f"{math.prod(dataset.image_shape)} pixels"
    )
    training = replace(config.training, duration=duration, evaluate_every="10 epochs")
    return replace(config, code=code, training=training), replace(
        dataset, notes=(*dataset.notes, note)
    )


def make_autoencoders(config: Config, dataset: Dataset) -> dict[str, AutoencoderBase]:
    """The autoencoders by the names of their runs."""
    height, width, channels = dataset.image_shape
    common: dict[str, Any] = {
        "activation": config.activation,
        "image_shape": (height, width, channels),
        "dtype": compute_dtype(config.training.precision),
    }
    models: dict[str, AutoencoderBase] = {
        f"code-{code}": Autoencoder(
            code=code, hidden=config.hidden, kernel_init=config.kernel_init, **common
        )
        for code in (config.code, PLANE)
    }
    if config.convolutional:
        models[f"conv-{config.code}"] = ConvAutoencoder(code=config.code, **common)
    return models


def with_labels(dataset: Dataset, number: int) -> Dataset:
    """Reduce the training split to ``number`` examples: the first ones of each class.

    Classes have equally many examples where possible. A smaller split is a subset of a larger one.
    """
    train = _array(dataset, "train")
    # The number of earlier examples of the same class.
    rank = np.empty(len(train), np.int64)
    for label in range(dataset.num_classes):
        members = np.flatnonzero(train.arrays["label"] == label)
        rank[members] = np.arange(len(members))
    chosen = np.sort(np.lexsort((train.arrays["label"], rank))[:number])
    subset = ArraySplit({name: array[chosen] for name, array in train.arrays.items()})
    return replace(dataset, splits={**dataset.splits, "train": subset})


def _while_training(
    dataset: Dataset, model: AutoencoderBase, loss: ReconstructionLoss, state: TrainState
) -> Any:
    """The first held-out images, as the autoencoder reconstructs them at the moment."""
    split = next(name for name in ("validation", "train") if name in dataset.splits)
    arrays = _array(dataset, split).arrays
    images = arrays["image"][:SHOWN] / np.float32(255)
    predict = jax.jit(Reconstruction(model, loss=loss).predict)
    rebuilt = predict(evaluated_params(state), state.model_state, {"image": images})
    return reconstructions(
        images,
        {f"{model.code} numbers": np.asarray(rebuilt)},
        [dataset.class_names[label] for label in arrays["label"][:SHOWN]],
        title=f"{dataset.title}, {split}: reconstructions after {int(state.step):,} steps",
    )


def compare(results: Mapping[str, Result]) -> dict[str, Any]:
    """Reconstructions, codes in the plane, errors with those of PCA, accuracy over labels."""
    autoencoders = {
        name: result
        for name, result in results.items()
        if isinstance(result.experiment.task, Reconstruction)
    }
    classifiers = {name: result for name, result in results.items() if name not in autoencoders}
    figures = _beside_pca(list(autoencoders.values()))
    if classifiers:
        figures["labels"] = _accuracy_over_labels(classifiers)
    return figures


def _beside_pca(results: list[Result]) -> dict[str, Any]:
    dataset, name = results[0].experiment.dataset, results[0].held_out
    split, title = _array(dataset, name), f"{dataset.title}, {name}"
    images, labels = split.arrays["image"] / np.float32(255), split.arrays["label"]
    flat = images.reshape(len(images), -1)
    sizes = sorted({_model(result).code for result in results}, reverse=True)
    train = _array(dataset, "train").arrays["image"]
    train = train.reshape(len(train), -1) / 255
    # PCA has at most as many components as there are examples or pixels.
    pca = {
        size: PCA(min(size, *train.shape), svd_solver="covariance_eigh").fit(train)
        for size in sizes
    }

    rebuilt: dict[str, np.ndarray] = {}
    errors: dict[str, dict[str, float]] = {}
    for size in sizes:
        linear = pca[size].inverse_transform(pca[size].transform(flat))
        outputs = {"PCA": linear.reshape(images.shape)}
        for result in results:
            if _model(result).code == size:
                outputs[_kind(result)] = result.outputs(name)
        rebuilt |= {f"{kind},\n{size} numbers": output for kind, output in outputs.items()}
        errors[f"{size} numbers"] = {
            kind: float(np.square(output - images).sum(axis=(1, 2, 3)).mean())
            for kind, output in outputs.items()
        }
    shown = [int(np.argmax(labels == label)) for label in np.unique(labels)[:SHOWN]]
    figures = {
        "reconstructions": reconstructions(
            images[shown],
            {row: output[shown] for row, output in rebuilt.items()},
            [dataset.class_names[labels[index]] for index in shown],
            title=f"{title}: images reconstructed from small codes, with squared errors",
        ),
        "errors": grouped_bars(
            errors,
            ylabel="squared error per image",
            title=f"{title}: error of images reconstructed from small codes",
        ),
    }
    for result in results:
        if _model(result).code == PLANE:
            figures["codes"] = code_scatter(
                {"PCA": pca[PLANE].transform(flat), "autoencoder": _codes(result, images)},
                labels,
                dataset.class_names,
                title=f"{title}: images as codes of two numbers",
            )
    return figures


def _accuracy_over_labels(results: Mapping[str, Result]) -> Any:
    first = next(iter(results.values()))
    split = first.held_out
    accuracies: dict[str, list[float]] = {
        start: [
            result.summary[split]["accuracy"]
            for name, result in results.items()
            if name.endswith(start)
        ]
        for start in STARTS
    }
    counts = dict.fromkeys(len(r.experiment.dataset.splits["train"]) for r in results.values())
    return learning_curve(
        list(counts),
        {
            "start from the encoder": accuracies["encoder"],
            "random start": accuracies["random"],
        },
        xlabel="labels",
        title=f"{first.experiment.dataset.title}, {split}: a classifier with few labels",
    )


def _model(result: Result) -> AutoencoderBase:
    return result.experiment.task.model


def _kind(result: Result) -> str:
    return "convolutional" if isinstance(_model(result), ConvAutoencoder) else "autoencoder"


def _codes(result: Result, images: np.ndarray) -> np.ndarray:
    encode = jax.jit(lambda x: _model(result).apply(result.variables, x, method="encode"))
    return np.concatenate([encode(images[i : i + 1000]) for i in range(0, len(images), 1000)])


def _curves(result: Result) -> Any:
    return training_curves(result.rows, title=f"{result.experiment.dataset.title}, training")


def _array(dataset: Dataset, name: str) -> ArraySplit:
    split = dataset.splits[name]
    assert isinstance(split, ArraySplit)
    return split


if __name__ == "__main__":
    run(Config, build, smoke=SMOKE, compare=compare)
