"""Data sets: by name from TFDS directories, from folders of images, or embedded."""

from cnn_jax.data.augment import (
    Augment,
    RandomCrop,
    RandomFlip,
    apply_augment,
    normalize,
    random_crop,
    random_flip,
)
from cnn_jax.data.dataset import ArraySplit, DataError, Dataset, Split, StreamSplit
from cnn_jax.data.load import DataConfig, load_dataset
from cnn_jax.data.order import epoch_order
from cnn_jax.data.stream import HostBatch, stream_batches

__all__ = [
    "ArraySplit",
    "Augment",
    "DataConfig",
    "DataError",
    "Dataset",
    "HostBatch",
    "RandomCrop",
    "RandomFlip",
    "Split",
    "StreamSplit",
    "apply_augment",
    "epoch_order",
    "load_dataset",
    "normalize",
    "random_crop",
    "random_flip",
    "stream_batches",
]
