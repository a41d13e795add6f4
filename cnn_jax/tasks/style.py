"""Style transfer in one pass: a network learns to give images a style, or any style.

The networks that are not trained, and the style, lie in the model's state, as "constants". Fresh
ones are random or zero: `Experiment.initialize` puts the real ones there.
"""

from dataclasses import dataclass
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
from flax import linen as nn
from jaxtyping import Array, Float, Key, PyTree

from cnn_jax.errors import ConfigError
from cnn_jax.layers import instance_statistics
from cnn_jax.style.losses import (
    Features,
    content_loss,
    gram_matrices,
    style_loss,
    total_variation,
)
from cnn_jax.tasks.apply import Spec, predict_model
from cnn_jax.tasks.metrics import mean, weighted_sums

METRICS = ("loss", "content", "style", "variation")
Images = Float[Array, "batch height width 3"]


class StyleTask:
    """What the tasks of style transfer share: their metrics, and RGB images."""

    metrics: ClassVar[tuple[str, ...]] = METRICS
    best_metric: ClassVar[str] = "loss"
    higher_is_better: ClassVar[bool] = False

    def check(self, dataset: Any) -> None:
        """Raise ConfigError unless the data set has RGB images."""
        if "image" not in dataset.spec or dataset.image_shape[-1:] != (3,):
            raise ConfigError(
                f"style transfer needs RGB images: {dataset.title} has {', '.join(dataset.spec)}"
                + (f" of shape {dataset.image_shape}" if "image" in dataset.spec else "")
            )

    @staticmethod
    def summarize(sums: dict[str, Any]) -> dict[str, float]:
        """The mean weighted losses of an image, from added-up sums."""
        return {name: mean(sums[name], sums["weight"]) for name in METRICS}


@dataclass(frozen=True)
class FastStyle(StyleTask):
    """Train a network to give ``batch["image"]`` one style (Johnson et al. 2016).

    The images and those that the network gives have pixels from 0 to 255. The losses are relative
    to the size of their targets, see `style.content_loss`. The constants are ``network``, the
    variables of the loss network, and ``grams``, the Gram matrices of the style.

    Attributes:
        model: linen module, ``model.apply(variables, images, train=…)`` of the images' shape.
        network: the loss network, whose ``features`` are compared.
        mean: of each of its channels in [0, 1], as it was trained.
        std: of each of its channels in [0, 1], as it was trained.
        content_layers: its layers of the content.
        style_layers: its layers of the style.
        content_weight: weight of the content loss, averaged over its layers.
        style_weight: weight of the style loss, averaged over its layers.
        variation_weight: weight of the total variation of pixels in [0, 1].
    """

    model: nn.Module
    network: Any
    mean: tuple[float, ...]
    std: tuple[float, ...]
    content_layers: tuple[str, ...]
    style_layers: tuple[str, ...]
    content_weight: float = 1.0
    style_weight: float = 10.0
    variation_weight: float = 1.0

    def init(self, key: Key[Array, ""], spec: Spec) -> tuple[PyTree, PyTree]:
        """Fresh ``(params, model_state)`` for examples of a spec."""
        images = jnp.zeros((1, *spec["image"].shape))
        params = jax.jit(self.model.init)(key, images)["params"]
        network = jax.jit(self.network.init)(key, images)
        shapes = jax.eval_shape(self.grams, network, images)
        grams = jax.tree.map(lambda one: jnp.zeros(one.shape, one.dtype), shapes)
        return params, {"constants": {"network": dict(network), "grams": grams}}

    def features(self, network: PyTree, images: Images) -> Features:
        """The loss network's maps of images of pixels from 0 to 255."""
        mean, std = (
            jnp.asarray(one, images.dtype)[None, None, None] for one in (self.mean, self.std)
        )
        return self.network.apply(network, (images / 255 - mean) / std, method="features")

    def grams(self, network: PyTree, style: Images) -> dict[str, Array]:
        """The Gram matrices of a style picture of pixels from 0 to 255."""
        return gram_matrices(self.features(network, style), dict.fromkeys(self.style_layers, 1.0))

    def loss_fn(
        self,
        params: PyTree,
        model_state: PyTree,
        batch: dict[str, Array],
        key: Key[Array, ""],
        train: bool,
    ) -> tuple[Array, tuple[PyTree, dict[str, Array]]]:
        """Weighted sum of the loss, the model state, and sums for the metrics."""
        images, constants = batch["image"], model_state["constants"]
        outputs: Any = self.model.apply({"params": params}, images, train=train)
        targets = self.features(constants["network"], images)
        maps = self.features(constants["network"], outputs)
        parts = {
            "content": self.content_weight
            * content_loss(maps, targets, _equal(self.content_layers), relative=True),
            "style": self.style_weight
            * style_loss(maps, constants["grams"], _equal(self.style_layers), relative=True),
            "variation": self.variation_weight * total_variation(outputs / 255),
        }
        return _summed(parts, batch["weight"], model_state)

    def predict(self, params: PyTree, model_state: PyTree, batch: dict[str, Array]) -> Images:
        """The images of a batch in the style, clipped to 0 to 255."""
        outputs = predict_model(self.model, params, {}, batch["image"])
        return jnp.clip(outputs, 0, 255)


@dataclass(frozen=True)
class AnyStyle(StyleTask):
    """Train the decoder of a `models.AdaIN` for any style (Huang and Belongie 2017).

    The images have pixels from 0 to 1. Each is given a style of the constants ``styles``, uint8
    [styles, height, width, 3]: in training a random one, in evaluation that of its place. The
    content loss is of the encoder's last maps, the style loss of the means and deviations of all
    that ``style_layers`` name; both are relative to the size of their targets. The constants hold
    the statistics of the encoder's BatchNorm too, where it has some.

    Attributes:
        model: a `models.AdaIN`. Hold its encoder fixed: ``Experiment.trainable`` is
            `AnyStyle.trainable`.
        style_layers: layers of its encoder.
        styles: number of style pictures, which have the images' size.
        style_weight: weight of the style loss, averaged over its layers.
        variation_weight: weight of the total variation.
    """

    model: Any
    style_layers: tuple[str, ...]
    styles: int = 1
    style_weight: float = 10.0
    variation_weight: float = 0.0

    @staticmethod
    def trainable(path: str) -> bool:
        """Whether a parameter is one of the decoder."""
        return path.startswith("decoder/")

    def init(self, key: Key[Array, ""], spec: Spec) -> tuple[PyTree, PyTree]:
        """Fresh ``(params, model_state)`` for examples of a spec, with black styles."""
        images = jnp.zeros((1, *spec["image"].shape))
        variables = dict(jax.jit(self.model.init)(key, images, images))
        styles = jnp.zeros((self.styles, *images.shape[1:]), jnp.uint8)
        return variables.pop("params"), {**variables, "constants": {"styles": styles}}

    def loss_fn(
        self,
        params: PyTree,
        model_state: PyTree,
        batch: dict[str, Array],
        key: Key[Array, ""],
        train: bool,
    ) -> tuple[Array, tuple[PyTree, dict[str, Array]]]:
        """Weighted sum of the loss, the model state, and sums for the metrics."""
        images, variables = batch["image"], self._variables(params, model_state)
        styles = self._styles(model_state, batch, key if train else None)
        target = self.model.apply(variables, images, styles, method="mixed")
        outputs = self.model.apply(variables, target, images.shape[1:3], method="decode")
        maps = self.model.apply(variables, outputs, method="encode")
        of_styles = self.model.apply(variables, styles, method="encode")
        last = list(maps)[-1]
        means, deviations = (
            content_loss(ours, theirs, _equal(self.style_layers), relative=True)
            for ours, theirs in zip(_statistics(maps), _statistics(of_styles), strict=True)
        )
        parts = {
            "content": content_loss(maps, {last: target}, {last: 1.0}, relative=True),
            "style": self.style_weight * (means + deviations),
            "variation": self.variation_weight * total_variation(outputs),
        }
        return _summed(parts, batch["weight"], model_state)

    def predict(self, params: PyTree, model_state: PyTree, batch: dict[str, Array]) -> Images:
        """The images of a batch, each in the style of its place, clipped to 0 to 1."""
        styles = self._styles(model_state, batch, None)
        variables = self._variables(params, model_state)
        outputs = self.model.apply(variables, batch["image"], styles, train=False)
        return jnp.clip(outputs, 0, 1)

    @staticmethod
    def _variables(params: PyTree, model_state: PyTree) -> PyTree:
        others = {name: tree for name, tree in model_state.items() if name != "constants"}
        return {"params": params, **others}

    @staticmethod
    def _styles(model_state: PyTree, batch: dict[str, Array], key: Any) -> Images:
        """The style of each example."""
        styles = model_state["constants"]["styles"]
        if key is None:
            chosen = batch["place"] % len(styles)
        else:
            # A key for each example, so that its style does not depend on the devices.
            keys = jax.vmap(jax.random.fold_in, in_axes=(None, 0))(key, batch["slot"])
            chosen = jax.vmap(lambda one: jax.random.randint(one, (), 0, len(styles)))(keys)
        return styles[chosen].astype(jnp.float32) / 255


def _equal(layers: tuple[str, ...]) -> dict[str, float]:
    return {layer: 1 / len(layers) for layer in layers}


def _statistics(maps: Features) -> tuple[Features, Features]:
    """The means and the deviations of all maps."""
    both = {name: instance_statistics(value) for name, value in maps.items()}
    means, deviations = ({name: pair[n] for name, pair in both.items()} for n in (0, 1))
    return means, deviations


def _summed(
    parts: dict[str, Array], weight: Array, model_state: PyTree
) -> tuple[Array, tuple[PyTree, dict[str, Array]]]:
    loss = parts["content"] + parts["style"] + parts["variation"]
    sums = weighted_sums(weight, loss=loss, **parts)
    return sums.pop("loss"), (model_state, sums)
