"""Small TFDS directories."""

import io
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image


def png(image: np.ndarray) -> bytes:
    file = io.BytesIO()
    Image.fromarray(image[..., 0] if image.shape[-1] == 1 else image).save(file, "png")
    return file.getvalue()


def noise(count: int, shape: tuple[int, int, int] = (6, 5, 3), seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (count, *shape), dtype=np.uint8)


@pytest.fixture
def write_tfds(tmp_path: Path) -> Callable[..., Path]:
    """A function that writes a TFDS data set and returns the TFDS directory it lies in."""

    def write(
        name: str,
        splits: dict[str, Sequence[tuple[bytes, Any]]],
        *,
        class_names: Sequence[str] = ("cat", "dog", "bird"),
        shape: tuple[int | None, int | None, int] = (6, 5, 3),
        version: str = "1.0.0",
        label: Any = None,
        label_key: str = "label",
    ) -> Path:
        tfds = pytest.importorskip("tensorflow_datasets")
        features = {
            "image": tfds.features.Image(shape=shape),
            label_key: label or tfds.features.ClassLabel(names=list(class_names)),
        }

        class Builder(tfds.core.GeneratorBasedBuilder, skip_registration=True):
            VERSION = tfds.core.Version(version)

            def _info(self):
                return tfds.core.DatasetInfo(
                    builder=self, features=tfds.features.FeaturesDict(features)
                )

            def _split_generators(self, manager):
                return {split: self._generate_examples(split) for split in splits}

            def _generate_examples(self, split):
                for number, (encoded, label) in enumerate(splits[split]):
                    yield number, {"image": io.BytesIO(encoded), label_key: label}

        Builder.name = name
        directory = tmp_path / "tfds"
        Builder(data_dir=directory).download_and_prepare(
            file_format="array_record",
            download_config=tfds.download.DownloadConfig(try_download_gcs=False),
        )
        return directory

    return write


def claim_fewer_classes(folder: Path, claimed: int) -> None:
    """Makes a prepared data set hold labels that are outside of its classes."""
    file = folder / "features.json"
    text = json.loads(file.read_text())
    text["featuresDict"]["features"]["label"]["classLabel"]["numClasses"] = str(claimed)
    file.write_text(json.dumps(text))
    names = folder / "label.labels.txt"
    names.write_text("\n".join(names.read_text().split("\n")[:claimed]) + "\n")


def write_tfds_texts(
    directory: Path,
    name: str,
    splits: dict[str, Sequence[tuple[str, int]]],
    class_names: Sequence[str],
) -> None:
    """Writes a TFDS data set of texts with classes."""
    tfds = pytest.importorskip("tensorflow_datasets")
    features = {
        "text": tfds.features.Text(),
        "label": tfds.features.ClassLabel(names=list(class_names)),
    }

    class Builder(tfds.core.GeneratorBasedBuilder, skip_registration=True):
        VERSION = tfds.core.Version("1.0.0")

        def _info(self):
            return tfds.core.DatasetInfo(
                builder=self, features=tfds.features.FeaturesDict(features)
            )

        def _split_generators(self, manager):
            return {split: self._generate_examples(split) for split in splits}

        def _generate_examples(self, split):
            for number, (text, label) in enumerate(splits[split]):
                yield number, {"text": text, "label": label}

    Builder.name = name
    Builder(data_dir=directory).download_and_prepare(
        file_format="array_record",
        download_config=tfds.download.DownloadConfig(try_download_gcs=False),
    )
