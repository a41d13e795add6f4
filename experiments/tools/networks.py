"""The network that a tool works with: public weights, a checkpoint file, or the result of a run."""

from dataclasses import dataclass, replace
from pathlib import Path

from cnn_jax import pretrained
from cnn_jax.errors import ConfigError, UserError
from cnn_jax.models import create_model
from cnn_jax.pretrained import Network, Preprocessing
from cnn_jax.pretrained.preprocessing import IMAGENET_MEAN, IMAGENET_STD
from cnn_jax.tasks import Classification
from experiments.tools.own_models import import_own_models
from experiments.tools.saved_run import Step, load_run


@dataclass(frozen=True)
class NetworkConfig:
    """Which network: --run, or --model with --weights or --checkpoint."""

    model: str = ""
    """Name of a model, such as resnet50 (see python -m experiments.summary)."""
    weights: str = "DEFAULT"
    """Public weights of the model, such as IMAGENET1K_V1; DEFAULT is the best of them."""
    checkpoint: str = ""
    """In place of public weights a state dict of your own: .safetensors, or PyTorch's .pth."""
    num_classes: int = 1000
    """Classes of the checkpoint."""
    classes: str = ""
    """Text file with the name of a class in each line, in the order of the checkpoint's outputs."""
    image_size: int = 224
    """Height and width in pixels of the images that the checkpoint was trained on."""
    mean: tuple[float, float, float] = IMAGENET_MEAN
    """Of each channel in [0, 1], as the checkpoint was trained: 0.5 for torchvision's GoogLeNet and
    Inception v3."""
    std: tuple[float, float, float] = IMAGENET_STD
    """Of each channel in [0, 1], as the checkpoint was trained: 0.5 for torchvision's GoogLeNet and
    Inception v3."""
    run: str = ""
    """Directory of a run, such as runs/resnet_cifar/1234abcd."""
    step: Step = "last"
    """Which checkpoint of the run: last, best on the validation split, or the number of a step."""


def load_network(config: NetworkConfig) -> Network:
    """The classifier of images that a configuration names, with a name for each class.

    Raises:
        ConfigError: as `load_any_network`; a run of another task.
        UserError: as `load_any_network`.
    """
    network = load_any_network(config)
    other_task = config.run and not isinstance(network.task, Classification)
    if other_task or network.preprocessing is None:
        raise ConfigError(
            f"{network.title}: expected a classifier of images, got a run of the task "
            f"{type(network.task).__name__} with the model {type(network.model).__name__}"
        )
    return replace(network, class_names=network.class_names or numbered(network.model.num_classes))


def load_any_network(config: NetworkConfig) -> Network:
    """The network that a configuration names, of any task.

    Raises:
        ConfigError: no network or two of them, an unknown model, weights that do not fit.
        UserError: files that are missing or cannot be read.
    """
    if bool(config.run) == bool(config.model):
        got = "both" if config.run else "neither"
        raise ConfigError(
            "which network? Give --model NAME (with --weights or --checkpoint) or --run "
            f"DIRECTORY, got {got}"
        )
    if config.run:
        return load_run(config.run, config.step)
    import_own_models()
    if config.checkpoint:
        return _from_checkpoint(config)
    create_model(config.model)  # names similar models if it is unknown
    return pretrained.load(config.model, config.weights)


def _from_checkpoint(config: NetworkConfig) -> Network:
    names = class_names(config)
    model = create_model(config.model, num_classes=len(names))
    # As usual, the shorter side becomes 8/7 of the image size (224: 256) before the crop.
    resize = round(config.image_size * 8 / 7)
    preprocessing = Preprocessing(resize, config.image_size, config.mean, config.std)
    try:
        variables = pretrained.from_torch(model, config.checkpoint, preprocessing.image_shape)
    except ConfigError as error:
        given = "--classes" if config.classes else "--num-classes"
        raise ConfigError(
            f"{config.checkpoint} as {config.model} with {len(names)} classes ({given}): {error}"
        ) from None
    return Network(
        model=model,
        variables=variables,
        preprocessing=preprocessing,
        class_names=names,
        title=f"{config.model}, {Path(config.checkpoint).name}",
    )


def class_names(config: NetworkConfig) -> tuple[str, ...]:
    """The names of a checkpoint's classes: those of its file, or "class 0" and so on."""
    if not config.classes:
        return numbered(config.num_classes)
    try:
        lines = Path(config.classes).expanduser().read_text().splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"cannot read the class names in {config.classes}: {error}") from None
    names = tuple(line.strip() for line in lines if line.strip())
    if not names:
        raise UserError(f"{config.classes} is empty, expected the name of a class in each line")
    return names


def numbered(count: int) -> tuple[str, ...]:
    """Names for classes without any."""
    return tuple(f"class {number}" for number in range(count))
