"""The examples that networks are evaluated on, as each network sees them."""

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from functools import partial
from typing import Any, Literal

import numpy as np
from PIL import Image as PillowImage

from cnn_jax.data import DataConfig, Dataset, Spec, StreamSplit, load_dataset
from cnn_jax.data.array_file import SUFFIX
from cnn_jax.data.errors import DataError
from cnn_jax.data.examples import EncodedExamples, Examples, HostExample, image_and_label
from cnn_jax.data.load import EMBEDDED
from cnn_jax.data.splits import Split
from cnn_jax.data.tfds_reader import Target
from cnn_jax.errors import ConfigError
from cnn_jax.pretrained import Preprocessing
from cnn_jax.saved_run import read_config
from experiments.tools.same_run import structured

Role = Literal["auto", "train", "validation", "test"]


def load_data(
    given: DataConfig, run: str, asked: Role, *, target: Target = "label"
) -> tuple[Dataset, str, str]:
    """The data set to evaluate on, the name of the split, and a note if the data have changed.

    Args:
        given: the user's choice. The name "auto" is the run's own data, or imagenet2012 without a
            run.
        run: directory of a run, or "".
        asked: name of the split. "auto" is that of the run's last figures for its own data (test,
            else validation), and validation, else test, for other data: ImageNet's test labels are
            secret.
        target: "mask" for the class of every pixel; "box", "boxes" or "instances" for objects.

    Raises:
        ConfigError: the split holds no images with labels, with masks, or with boxes.
        DataError: as `load_dataset`, among others if there is no such split.
    """
    if run and given.name == "auto":
        data, recorded = _data_of_run(run, given)
        there = [role for role in ("test", "validation", "train") if role in recorded["examples"]]
        try:
            dataset, split = _load(data, there[:1] if asked == "auto" else [asked], target)
        except DataError as error:
            raise DataError(
                f"{error}\nThis is the data set that the run was trained on; name another one with "
                "--data.name"
            ) from None
        now, then = len(dataset.splits[split]), recorded["examples"].get(split)
        changed = f"{split} has {now:,} examples, and had {then:,} when the run was made"
        return dataset, split, "" if then in (None, now) else changed
    data = replace(given, name="imagenet2012") if given.name == "auto" else given
    if target == "label" and data.name not in EMBEDDED and not data.name.endswith(SUFFIX):
        # Such a data set needs a size, but each network resizes the original images.
        data = replace(data, storage="stream", image_size=data.image_size or 64)
    return *_load(data, ["validation", "test"] if asked == "auto" else [asked], target), ""


def _load(data: DataConfig, roles: Sequence[str], target: Target) -> tuple[Dataset, str]:
    """The first of the splits that is there, alone, and its name."""
    dataset = load_dataset(data, default=data.name, only=tuple(roles), target=target)
    (name,) = dataset.splits
    spec = dataset.splits[name].spec
    entry = target if target in ("label", "mask") else "boxes"
    if entry not in spec or "image" not in spec or spec["image"].dtype != np.uint8:
        what = entry if entry == "boxes" else f"{entry}s"
        raise ConfigError(f"{dataset.title}, {name}: expected images of bytes with {what}")
    return dataset, name


def _data_of_run(directory: str, given: DataConfig) -> tuple[DataConfig, dict[str, Any]]:
    """The data that a run was trained on, and what its config.json says of them.

    What differs from the defaults in `given` replaces the run's own choice, such as `dir`.
    """
    root, member, saved = read_config(directory)
    recorded = saved["networks"][member]["data"]
    own = structured(saved["config"].get("data", {}), DataConfig, root / "config.json")
    changed: dict[str, Any] = {
        one.name: value
        for one in fields(given)
        if (value := getattr(given, one.name)) != one.default
    }
    # "auto" may find another data set today.
    name = recorded["name"] if own.name == "auto" else own.name
    return replace(own, **{"name": name, **changed}), recorded


def as_seen_by(split: Split, preprocessing: Preprocessing) -> StreamSplit:
    """The split with images resized and cropped for a network, not yet normalized."""
    examples: Any = split
    stream = (
        split
        if isinstance(split, StreamSplit)
        else StreamSplit(examples, np.arange(len(split), dtype=np.int32))
    )
    shape = preprocessing.image_shape
    if isinstance(stream.examples, EncodedExamples):
        whole: Any = stream.examples
        crop = partial(_crop, preprocessing)
        return replace(stream, examples=replace(whole, crop=crop, image_shape=shape))
    if stream.spec["image"].shape == shape:
        return stream
    return replace(stream, examples=Resized(stream.examples, preprocessing))


def _crop(preprocessing: Preprocessing, image: PillowImage.Image) -> PillowImage.Image:
    pixels = preprocessing.resize_and_crop(np.asarray(image.convert("RGB")))
    return PillowImage.fromarray(pixels[..., 0] if pixels.shape[-1] == 1 else pixels)


@dataclass(frozen=True)
class Resized:
    """Decoded examples, resized and cropped for a network."""

    examples: Examples
    preprocessing: Preprocessing

    @property
    def spec(self) -> Spec:
        return image_and_label(self.preprocessing.image_shape)

    def __len__(self) -> int:
        return len(self.examples)

    def __getitem__(self, index: int) -> HostExample:
        return self.__getitems__([index])[0]

    def __getitems__(self, indices: Sequence[int]) -> list[HostExample]:
        return [
            {"image": self._resized(example["image"]), "label": example["label"]}
            for example in self.examples.__getitems__(indices)
        ]

    def _resized(self, image: Any) -> np.ndarray:
        channels = image.shape[-1]
        if channels not in (1, 3):
            raise ConfigError(
                f"images with {channels} channels cannot be resized for the network: expected 1 "
                f"or 3, or images of its shape {self.preprocessing.image_shape}"
            )
        return self.preprocessing.resize_and_crop(np.repeat(image, 3 // channels, axis=-1))
