"""Generative adversarial networks: one network makes images, another tells them from real ones.

Lecture: "Generative adversarial networks". Sources: Goodfellow et al. 2014; DCGAN, Radford et al.
2016; SNGAN, Miyato et al. 2018; WGAN-GP, Gulrajani et al. 2017; R1, Mescheder et al. 2018.

    python -m experiments.dcgan                                     Fashion-MNIST
    python -m experiments.dcgan --data.name cifar10 --training.duration '50 epochs'
    python -m experiments.dcgan --conditional                       images of given classes
    python -m experiments.dcgan --recipe sngan --data.name cifar10  residual, spectral norm, hinge
    python -m experiments.dcgan --recipe wgan_gp                    Wasserstein, gradient penalty

First a small classifier is trained. Its features measure the samples at every evaluation: their
Fréchet distance from the validation images (feature_fid; not the published FID, whose features are
those of Inception v3), precision and recall, and the share of the rarest class, which shows mode
collapse. figures/samples.gif shows the same latents over the training.

`python -m experiments.generate --run runs/dcgan/…/gan` makes images, and `python -m experiments.fid
--run runs/dcgan/…/gan` measures them by the public Inception v3: the published FID.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from flax import linen as nn

from cnn_jax.data import DataConfig, Dataset, load_dataset
from cnn_jax.errors import check_range
from cnn_jax.models import (
    GAN,
    DCGANDiscriminator,
    DCGANGenerator,
    SNGANDiscriminator,
    SNGANGenerator,
    cifar_resnet,
)
from cnn_jax.models.gan import DiscriminatorNorm
from cnn_jax.tasks import Adversarial, Classification
from cnn_jax.tasks.adversarial_losses import AdversarialLoss, Penalty
from cnn_jax.training import (
    ControlConfig,
    Experiment,
    OptimizerConfig,
    Result,
    TrainingConfig,
    Variables,
    adversarial,
    check_durations,
    compute_dtype,
)
from experiments.tools.figures import classification_figures
from experiments.tools.run import run
from experiments.tools.sample_figures import (
    compared_samples,
    sample_figures,
    sample_pictures,
)

CLASSIFIER, NETWORKS = "classifier", "gan"
"""The members of the study."""
CLASSIFIER_DEPTH = 8
"""Layers of the residual network whose features measure the samples."""


@dataclass(frozen=True)
class Config:
    """A generator and a discriminator."""

    recipe: Literal["dcgan", "sngan", "wgan_gp"] = "dcgan"
    """dcgan: as in the paper; sngan: residual blocks, spectral normalization, hinge loss, 5 updates
    of the discriminator a step; wgan_gp: DCGAN with the Wasserstein loss and gradient penalty."""
    network: Literal["dcgan", "sngan"] = "dcgan"
    """Strided convolutions or residual blocks."""
    loss: AdversarialLoss = "non_saturating"
    """What is minimized; see `tasks.discriminator_loss` and `tasks.generator_loss`."""
    penalty: Penalty = "none"
    """On the discriminator's gradient by its images: gradient (Wasserstein's), r1, or none."""
    penalty_weight: float = 10.0
    """Factor of the penalty."""
    norm: DiscriminatorNorm = "batch"
    """Normalization in DCGAN's discriminator; that of SNGAN is spectral."""
    conditional: bool = False
    """Let both networks see the class of each image."""
    latent: int = 100
    """Size of the latents."""
    width: int = 64
    """Channels of DCGAN's largest maps, or of SNGAN's discriminator; its generator has twice as
    many."""
    discriminator_steps: int = 1
    """Updates of the discriminator a step, each on such a part of the batch."""
    classifier_duration: str = "6 epochs"
    """Training of the classifier that measures the samples."""
    data: DataConfig = field(default_factory=DataConfig)
    optimizer: OptimizerConfig = field(
        default_factory=lambda: OptimizerConfig(name="adam", learning_rate=2e-4, momentum=0.5)
    )
    """The generator's."""
    discriminator: OptimizerConfig = field(
        default_factory=lambda: OptimizerConfig(name="adam", learning_rate=2e-4, momentum=0.5)
    )
    """The discriminator's optimizer."""
    training: TrainingConfig = field(
        default_factory=lambda: TrainingConfig(duration="20 epochs", ema_decay=0.99)
    )
    control: ControlConfig = field(default_factory=ControlConfig)

    def __post_init__(self) -> None:
        check_range(self, 1, latent=self.latent, width=self.width)
        check_range(self, 1, discriminator_steps=self.discriminator_steps)
        check_range(self, 0, penalty_weight=self.penalty_weight)
        check_durations(self, classifier_duration=self.classifier_duration)


DCGAN = Config()
WITHOUT_MOMENTUM = OptimizerConfig(
    name="adam", learning_rate=2e-4, momentum=0.0, beta2=0.9, schedule="linear"
)
SNGAN = replace(
    DCGAN,
    recipe="sngan",
    network="sngan",
    loss="hinge",
    norm="spectral",
    latent=128,
    width=128,
    discriminator_steps=5,
    optimizer=WITHOUT_MOMENTUM,
    discriminator=WITHOUT_MOMENTUM,
    training=replace(DCGAN.training, batch_size=5 * 64, ema_decay=0.999),
)
WGAN_GP = replace(
    DCGAN,
    recipe="wgan_gp",
    loss="wasserstein",
    penalty="gradient",
    norm="none",
    discriminator_steps=5,
    optimizer=replace(WITHOUT_MOMENTUM, learning_rate=1e-4),
    discriminator=replace(WITHOUT_MOMENTUM, learning_rate=1e-4),
    training=replace(DCGAN.training, batch_size=5 * 64),
)
RECIPES = {"dcgan": DCGAN, "sngan": SNGAN, "wgan_gp": WGAN_GP}
SMOKE = replace(
    DCGAN,
    latent=8,
    width=4,
    classifier_duration="12 steps",
    data=DataConfig(name="digits"),
    training=TrainingConfig(
        duration="12 steps", batch_size=64, evaluate_every="6 steps", ema_decay=0.9
    ),
)


def build(config: Config) -> dict[str, Experiment]:
    """A classifier, and the networks whose samples it measures."""
    dataset = load(config.data)
    classifier = cifar_resnet(CLASSIFIER_DEPTH, num_classes=dataset.num_classes)
    task = Adversarial(
        make_networks(config, dataset),
        loss=config.loss,
        penalty=config.penalty,
        penalty_weight=config.penalty_weight,
        classifier=classifier,
    )
    return {
        CLASSIFIER: Experiment(
            dataset=dataset,
            task=Classification(classifier),
            optimizer=OptimizerConfig(
                name="adamw", learning_rate=5e-3, schedule="one_cycle", weight_decay=0.05
            ),
            training=TrainingConfig(
                duration=config.classifier_duration,
                eval_batch_size=config.training.eval_batch_size,
            ),
            control=config.control,
            figures={name: classification_figures()[name] for name in ("curves", "confusion")},
        ),
        NETWORKS: Experiment(
            dataset=dataset,
            task=task,
            optimizer=config.optimizer,
            training=config.training,
            control=config.control,
            program=adversarial(config.discriminator, config.discriminator_steps),
            initialize=with_classifier,
            figures=sample_figures(),
            pictures=sample_pictures(task, dataset),
        ),
    }


def load(config: DataConfig) -> Dataset:
    """The data set, with images in [-1, 1] as generators make them."""
    dataset = load_dataset(config, default="fashion_mnist")
    half = (0.5,) * dataset.image_shape[-1]
    return replace(dataset, mean=half, std=half)


def make_networks(config: Config, dataset: Dataset) -> GAN:
    """The generator and the discriminator of a configuration."""
    shape: Any = dataset.image_shape
    shared: dict[str, Any] = {
        "num_classes": dataset.num_classes if config.conditional else 0,
        "dtype": compute_dtype(config.training.precision),
    }
    generator: nn.Module
    discriminator: nn.Module
    if config.network == "sngan":
        generator = SNGANGenerator(shape, config.latent, 2 * config.width, **shared)
        discriminator = SNGANDiscriminator(config.width, **shared)
    else:
        generator = DCGANGenerator(shape, config.latent, config.width, **shared)
        discriminator = DCGANDiscriminator(shape, config.width, norm=config.norm, **shared)
    return GAN(generator, discriminator)


def with_classifier(fresh: Variables, earlier: Mapping[str, Result]) -> Variables:
    """Fresh variables, with the trained classifier in place of a fresh one."""
    return fresh | {"constants": {"classifier": earlier[CLASSIFIER].variables}}


def compare(results: Mapping[str, Result]) -> dict[str, Any]:
    """The samples beside real images, as the classifier sees them."""
    return compared_samples(results[NETWORKS])


if __name__ == "__main__":
    run(Config, build, recipes=RECIPES, smoke=SMOKE, compare=compare)
