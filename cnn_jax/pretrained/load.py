"""A model with public weights, its preprocessing and its class names, in one line."""

from pathlib import Path
from typing import Any

import jax
from jaxtyping import Array, Key

from cnn_jax.imagenet import imagenet_classes
from cnn_jax.models import create_model
from cnn_jax.pretrained.catalog import find_weights
from cnn_jax.pretrained.classes import change_num_classes
from cnn_jax.pretrained.convert import from_torch
from cnn_jax.pretrained.files import hub_configuration, hub_file, weights_directory, weights_file
from cnn_jax.pretrained.network import Network
from cnn_jax.pretrained.preprocessing import Preprocessing
from cnn_jax.pretrained.whole_image import BySides

IMAGENET_CLASSES = 1000


def load(
    name: str,
    weights: str = "DEFAULT",
    *,
    num_classes: int | None = None,
    directory: str | Path | None = None,
    key: Key[Array, ""] | None = None,
    **attributes: Any,
) -> Network:
    """A model with public weights, which are downloaded once and verified by their sha256.

    GoogLeNet and Inception v3 get `transform_input=True`, because torchvision's weights for them
    expect images in [-1, 1]. Auxiliary classifiers are omitted unless `aux_logits=True`. Detectors
    of torchvision's first version get `norm="frozen"` and `norm_eps=0.0`, as there.

    Args:
        name: a name for `create_model`.
        weights: "IMAGENET1K_V1", "IMAGENET1K_V2", for segmentation "COCO_WITH_VOC_LABELS_V1",
            for detectors "COCO_V1" (torchvision's, see `list_weights`), "DEFAULT" for the best of
            them, or a repository of timm on the Hugging Face hub, such as "timm/resnet50.a1_in1k".
        num_classes: if it is not that of the weights, the body is kept and the last layer is
            initialized, see `change_num_classes`; 0 gives the features before the last layer.
        directory: directory of the files; by default "cnn_jax/weights" in the user's cache
            directory (`XDG_CACHE_HOME`, or ~/.cache).
        key: random key of the initialization; by default `jax.random.key(0)`.
        attributes: attributes of the model, such as `norm="frozen"` or `dtype`.

    Returns:
        The network; `class_names` is empty if the weights are neither torchvision's nor for
        ImageNet's 1,000 classes, or the number of classes was changed.

    Raises:
        ConfigError: unknown model, attribute or weights (close names are listed), or weights that
            do not fit the model (all entries that do not fit are listed).
        UserError: the weights cannot be downloaded; the message says how to do it by hand.
    """
    folder = Path(directory) if directory else weights_directory()
    preprocessing: Preprocessing | BySides
    if "/" in weights:
        file = hub_file(weights, "model.safetensors", folder)
        preprocessing, there = hub_configuration(weights, folder)
        class_names = imagenet_classes() if there == IMAGENET_CLASSES else ()
    else:
        chosen = find_weights(name, weights)
        attributes = chosen.attributes | attributes
        preprocessing, class_names = chosen.preprocessing, chosen.class_names
        there = chosen.num_classes
        create_model(name, **attributes)  # raises before anything is downloaded
        file = weights_file(chosen, folder)
    model = create_model(name, num_classes=there, **attributes)
    image_shape = preprocessing.image_shape
    variables = from_torch(model, file, image_shape)
    reinitialized: tuple[str, ...] = ()
    if num_classes is not None:
        model, variables, reinitialized = change_num_classes(
            model, variables, num_classes, jax.random.key(0) if key is None else key, image_shape
        )
    return Network(
        model=model,
        variables=variables,
        preprocessing=preprocessing,
        class_names=class_names if model.num_classes == there else (),
        title=f"{name}, {weights}",
        reinitialized=reinitialized,
    )
