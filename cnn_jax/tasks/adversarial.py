"""Generative adversarial training: two networks, each of which minimizes a loss of its own."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, get_args

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float, Key, PyTree

from cnn_jax.errors import ConfigError, check_range
from cnn_jax.tasks.adversarial_losses import (
    AdversarialLoss,
    Penalty,
    discriminator_loss,
    generator_loss,
    gradient_penalty,
    real_gradient_penalty,
)
from cnn_jax.tasks.apply import Spec, check_loss, init_model, init_variables, predict_model
from cnn_jax.tasks.metrics import mean, weighted_sums
from cnn_jax.tasks.sample_scores import class_shares, frechet_distance, precision_recall

CONSTANTS = "constants"
"""The collection of networks that are not trained."""
WON = 0.01
"""A mean loss of the discriminator, per pair of images, below which it has won."""

Images = Float[Array, "batch height width channels"]
Batch = Mapping[str, Array]
Sums = dict[str, Array]


@dataclass(frozen=True)
class Adversarial:
    """Train a discriminator to tell the images of ``batch["image"]``, in [-1, 1], from those that
    a generator makes, and the generator to make images that it takes for real.

    A loss is the mean over images. The training is `training.adversarial`'s. Latents are standard
    normal. A class-conditional generator makes images of the batch's labels.

    With a classifier, generated images are compared with the real ones of a split by its features
    before the last layer. ``feature_fid`` is the Fréchet distance of these features. It is
    comparable for one classifier alone, and not with published FIDs, which are of Inception v3.
    ``rarest_class`` is the share of generated images in the class that the classifier sees least.

    Attributes:
        model: a `models.GAN`.
        loss: see `discriminator_loss`.
        penalty: on the discriminator's gradient by its images: "gradient" (`gradient_penalty`, of
            images between real and generated ones), "r1" (`real_gradient_penalty`) or "none".
        penalty_weight: its factor.
        classifier: its variables are in ``model_state["constants"]["classifier"]``; fresh ones are
            to be replaced (`training.Experiment.initialize`). None: samples are not measured.

    Raises:
        ConfigError: a loss or penalty that is not known, or that does not suit the discriminator.
    """

    model: Any
    loss: AdversarialLoss = "non_saturating"
    penalty: Penalty = "none"
    penalty_weight: float = 10.0
    classifier: nn.Module | None = None

    of_judged: ClassVar[tuple[str, ...]] = ("discriminator_loss", "real_logit", "fake_logit")
    of_samples: ClassVar[tuple[str, ...]] = ("feature_fid", "precision", "recall", "rarest_class")

    def __post_init__(self) -> None:
        check_loss(self.loss, get_args(AdversarialLoss))
        check_loss(self.penalty, get_args(Penalty), name="penalty")
        check_range(self, 0, penalty_weight=self.penalty_weight)
        norm = getattr(self.model.discriminator, "norm", "spectral")
        if self.penalty == "gradient" and norm == "batch":
            raise ConfigError(
                "the gradient penalty is about the logit of one image by itself, and BatchNorm "
                'makes it depend on the whole batch: use a discriminator with norm="none" (--norm)'
            )
        if self.loss == "wasserstein" and self.penalty == "none" and norm != "spectral":
            raise ConfigError(
                "the Wasserstein loss needs a discriminator with a bounded gradient: use "
                'penalty="gradient" and norm="none", or norm="spectral" (--penalty, --norm)'
            )

    @property
    def metrics(self) -> tuple[str, ...]:
        return ("loss", *self.of_judged, *(self.of_samples if self.classifier else ()))

    @property
    def best_metric(self) -> str:
        return "feature_fid" if self.classifier else "discriminator_loss"

    @property
    def higher_is_better(self) -> bool:
        # A discriminator that cannot tell real from generated has a high loss.
        return not self.classifier

    def check(self, dataset: Any) -> None:
        """Raise ConfigError if the networks do not fit the data set's images or classes."""
        shape, made = dataset.image_shape, self.model.generator.image_shape
        if tuple(shape) != tuple(made):
            raise ConfigError(
                f"the generator makes images of {made}, and those of {dataset.title} have the "
                f"shape {shape}; create it with image_shape={shape}"
            )
        if {*dataset.mean, *dataset.std} != {0.5}:
            raise ConfigError(
                f"a generator's images are in [-1, 1], and those of {dataset.title} are normalized "
                f"by mean {dataset.mean} and std {dataset.std}; replace both by "
                f"{(0.5,) * shape[-1]}"
            )
        if self.conditional and self.model.generator.num_classes != dataset.num_classes:
            raise ConfigError(
                f"the networks are conditional on {self.model.generator.num_classes} classes, and "
                f"{dataset.title} has {dataset.num_classes}"
            )

    @property
    def conditional(self) -> bool:
        """Whether the networks see the labels."""
        return bool(self.model.generator.num_classes)

    def init(self, key: Key[Array, ""], spec: Spec) -> tuple[PyTree, dict[str, Any]]:
        """Fresh ``(params, model_state)`` for examples of a spec."""
        latents = jnp.zeros((1, self.model.generator.latent))
        labels = jnp.zeros(1, jnp.int32) if self.conditional else None
        variables = init_variables(self.model, key, latents, labels)
        params = variables.pop("params")
        if self.classifier:
            of_classifier, state = init_model(self.classifier, key, spec)
            variables[CONSTANTS] = {"classifier": {"params": of_classifier, **state}}
        return params, variables

    def latents(self, key: Key[Array, ""], batch: Batch) -> Float[Array, "batch latent"]:
        """Noise of each example's own, by its place in the split, whatever the devices.

        All losses and outputs of a key and a batch are of the same latents.
        """
        noise_key, size = jax.random.split(key)[0], self.model.generator.latent
        return _drawn(noise_key, batch, lambda one: jax.random.normal(one, (size,)))

    def discriminator_loss(
        self, params: PyTree, model_state: PyTree, batch: Batch, key: Key[Array, ""], train: bool
    ) -> tuple[Array, tuple[PyTree, Sums]]:
        """Weighted sum of the discriminator's objective, the new state, and sums for the metrics.

        The generator's statistics are not updated here.
        """
        real, labels = batch["image"], self._labels(batch)
        latents = self.latents(key, batch)
        fake, _ = self._apply("generate", params, model_state, latents, labels, train)
        fake = lax.stop_gradient(fake)
        state = model_state
        real_logits, state = self._apply("judge", params, state, real, labels, train)
        fake_logits, state = self._apply("judge", params, state, fake, labels, train)
        losses = discriminator_loss(real_logits, fake_logits, self.loss)

        def judge(images: Images) -> Array:
            return self._apply("judge", params, state, images, labels, train)[0]

        objective = losses
        if self.penalty == "gradient":
            share = _drawn(jax.random.split(key)[1], batch, jax.random.uniform)
            objective = losses + self.penalty_weight * gradient_penalty(judge, real, fake, share)
        elif self.penalty == "r1":
            objective = losses + self.penalty_weight * real_gradient_penalty(judge, real)
        sums = weighted_sums(
            batch["weight"],
            objective=objective,
            discriminator_loss=losses,
            real_logit=real_logits,
            fake_logit=fake_logits,
        )
        total = sums.pop("objective")
        sums["judged"] = sums.pop("weight")
        return total, (state, sums)

    def generator_loss(
        self, params: PyTree, model_state: PyTree, batch: Batch, key: Key[Array, ""], train: bool
    ) -> tuple[Array, tuple[PyTree, Sums]]:
        """Weighted sum of the generator's loss, the new state, and ``weight``."""
        labels, latents = self._labels(batch), self.latents(key, batch)
        fake, state = self._apply("generate", params, model_state, latents, labels, train)
        logits, state = self._apply("judge", params, state, fake, labels, train)
        sums = weighted_sums(batch["weight"], loss=generator_loss(logits, self.loss))
        return sums.pop("loss"), (state, sums)

    def predict(
        self, params: PyTree, model_state: PyTree, batch: Batch, key: Key[Array, ""]
    ) -> Images:
        """A generated image for each example."""
        latents = self.latents(key, batch)
        return self._apply("generate", params, model_state, latents, self._labels(batch), False)[0]

    def rows(
        self, params: PyTree, model_state: PyTree, batch: Batch, key: Key[Array, ""]
    ) -> dict[str, Array] | None:
        """Features of real and generated images, and the generated images' class.

        None without a classifier.
        """
        if not self.classifier:
            return None
        fake = self.predict(params, model_state, batch, key)
        features, classes = self.classify(model_state, fake)
        real, _ = self.classify(model_state, batch["image"])
        return {"real": real, "fake": features, "class": classes}

    def classify(
        self, model_state: PyTree, images: Images
    ) -> tuple[Float[Array, "batch features"], Array]:
        """The classifier's features of images in [-1, 1], and the class that it takes them for."""
        variables = dict(model_state[CONSTANTS]["classifier"])
        params = variables.pop("params")
        classifier: Any = self.classifier
        features = predict_model(classifier.clone(num_classes=0), params, variables, images)
        logits = predict_model(classifier, params, variables, images)
        return features, jnp.argmax(logits, axis=-1)

    def measure(self, rows: Mapping[str, Any] | None) -> dict[str, float]:
        """The metrics of the samples, by the rows of a whole split."""
        if rows is None:
            return {}
        classifier: Any = self.classifier
        precision, recall = precision_recall(rows["real"], rows["fake"])
        shares = class_shares(rows["class"], classifier.num_classes)
        return {
            "feature_fid": frechet_distance(rows["real"], rows["fake"]),
            "precision": precision,
            "recall": recall,
            "rarest_class": float(shares.min()),
        }

    def summarize(self, sums: Mapping[str, Any]) -> dict[str, float]:
        """The generator's mean loss, the discriminator's without its penalty, and mean logits."""
        of_judged = {name: mean(sums[name], sums["judged"]) for name in self.of_judged}
        return {"loss": mean(sums["loss"], sums["weight"]), **of_judged}

    def remark(self, metrics: Mapping[str, float]) -> str:
        """What somebody who watches the training should know of a row; "": nothing."""
        loss = metrics["discriminator_loss"]
        if self.loss == "wasserstein" or not loss < WON:
            return ""
        return (
            f"the discriminator has won: its loss is {loss:.2g}, so it is sure of every image, and "
            "the generator learns little from it. A lower learning rate of the discriminator or "
            "fewer of its steps, spectral normalization or the penalty r1 usually help"
        )

    def _labels(self, batch: Batch) -> Array | None:
        return batch["label"] if self.conditional else None

    def _apply(
        self,
        method: str,
        params: PyTree,
        model_state: PyTree,
        inputs: Array,
        labels: Array | None,
        train: bool,
    ) -> tuple[Array, PyTree]:
        """The result of a method of the model and the new state, which only training changes."""
        apply: Any = self.model.apply
        variables = {"params": params, **model_state}
        if not train:
            return apply(variables, inputs, labels, train=False, method=method), model_state
        mutable = [name for name in model_state if name != CONSTANTS]
        result, state = apply(variables, inputs, labels, train=True, method=method, mutable=mutable)
        return result, {**model_state, **state}


def _drawn(key: Key[Array, ""], batch: Batch, draw: Any) -> Array:
    """Random values of each example, by its place in the split."""
    keys = jax.vmap(jax.random.fold_in, in_axes=(None, 0))(key, batch["place"])
    return jax.vmap(draw)(keys)
