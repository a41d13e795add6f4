"""Texts of prepared TFDS data sets, read without TensorFlow."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from cnn_jax.data.errors import DataError
from cnn_jax.data.tfds_examples import broken
from cnn_jax.data.tfds_reader import (
    check_features,
    check_files,
    find_prepared,
    import_tfds,
    prepared_names,
    tfds_directory,
)

AT_ONCE = 1024
"""Records that are read at once."""


@dataclass(frozen=True)
class StoredTexts:
    """The texts of a data set by split, with a class for each if there is one.

    Attributes:
        texts: those of each split.
        labels: their classes; empty without class labels.
        class_names: one for each class.
    """

    texts: Mapping[str, list[str]]
    labels: Mapping[str, np.ndarray]
    class_names: tuple[str, ...]


def is_prepared(name: str, directory: str = "") -> bool:
    """Whether a name is that of a prepared data set."""
    return bool(name) and find_prepared(name, tfds_directory(directory)) is not None


def read_tfds_texts(name: str, directory: str = "") -> StoredTexts:
    """All texts of a data set. Text and label are found by the features' types.

    Args:
        name: such as "imdb_reviews".
        directory: of TFDS; by default TFDS_DATA_DIR or ~/tensorflow_datasets.

    Raises:
        DataError: it is not prepared, broken, has no text, or a text that is not UTF-8.
    """
    root = tfds_directory(directory)
    path = find_prepared(name, root)
    if path is None:
        there = ", ".join(prepared_names(root)) or "none"
        raise DataError(f"{name} is not prepared in {root}; there are: {there}")
    tfds = import_tfds(name)
    try:
        check_files(path)
        check_features(path)
        return _read(tfds, name, path)
    except DataError:
        raise
    except Exception as error:  # TFDS, protobuf and array_record raise many kinds of exceptions
        raise broken(path, error) from error


def _read(tfds: Any, name: str, path: Path) -> StoredTexts:
    builder = tfds.builder_from_directory(path)
    # Sorted, because a stored data set does not fix the order of its features.
    features = dict(sorted(builder.info.features.items()))
    keys = [key for key, one in features.items() if isinstance(one, tfds.features.Text)]
    if not keys:
        raise DataError(f"{name} has no text, only {', '.join(features)}")
    key = "text" if "text" in keys else keys[0]
    labels = [key for key, one in features.items() if isinstance(one, tfds.features.ClassLabel)]
    label = "label" if "label" in labels else next(iter(labels), None)
    texts: dict[str, list[str]] = {}
    classes: dict[str, np.ndarray] = {}
    for split, info in builder.info.splits.items():
        if not info.num_examples:
            continue
        source = builder.as_data_source(split=split)
        texts[split], numbers = [], []
        for start in range(0, len(source), AT_ONCE):
            for record in source.__getitems__(
                list(range(start, min(start + AT_ONCE, len(source))))
            ):
                texts[split].append(_decoded(record[key], name, split, len(texts[split])))
                numbers.append(record[label] if label else 0)
        if label:
            classes[split] = np.array(numbers, np.int32)
    return StoredTexts(texts, classes, tuple(features[label].names) if label else ())


def _decoded(text: Any, name: str, split: str, number: int) -> str:
    try:
        return text.decode() if isinstance(text, bytes) else str(text)
    except UnicodeDecodeError as error:
        raise DataError(f"{name} {split}: text {number:,} is not UTF-8: {error}") from None
