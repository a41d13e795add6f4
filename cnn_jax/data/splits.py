"""Splits of a data set: how a batch is taken from the stored examples, and in which order."""

from collections.abc import Mapping, Sequence, Sized
from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Int, Int32, Integer

from cnn_jax.data.augment import RandomResizedCrop
from cnn_jax.data.errors import DataError
from cnn_jax.data.examples import Examples, HostExample, LabelledExamples, Spec
from cnn_jax.data.order import contiguous_order, epoch_order, padded_order


class _Shuffled(Sized):
    """The order of independent examples: a new permutation in every epoch of training."""

    contiguous: bool = False
    """Whether each row of a batch continues the same row of the batch before it."""

    def steps_per_epoch(self, batch_size: int) -> int:
        """The number of whole batches in an epoch of training; the remainder is left out."""
        return len(self) // batch_size

    def order(self, seed: int, epoch: int, batch_size: int) -> Int32[np.ndarray, "places"]:
        """The places of the examples of an epoch of training, batch after batch."""
        used = self.steps_per_epoch(batch_size) * batch_size
        return epoch_order(seed, epoch, len(self))[:used]

    def evaluation_order(self, batch_size: int) -> Int32[np.ndarray, "places"]:
        """Every place once, batch after batch, and -1 for the padding of the last batches."""
        return padded_order(len(self), batch_size)


@dataclass(frozen=True)
class ArraySplit(_Shuffled):
    """Rows of named arrays, decoded once and small enough to live on the devices.

    Attributes:
      arrays: the entries of all examples, such as {"image": ..., "label": ...}. The first axis of
        every array is the examples.

    Raises:
        DataError: no arrays, arrays with different numbers of examples, values that are not
            numbers or not finite.
    """

    arrays: Mapping[str, np.ndarray]

    def __post_init__(self) -> None:
        counts = {name: len(array) for name, array in self.arrays.items()}
        if len(set(counts.values())) != 1:
            found = ", ".join(f"{name} {count}" for name, count in counts.items()) or "no arrays"
            raise DataError(f"expected arrays with equal numbers of examples, got {found}")
        for name, values in self.arrays.items():
            if values.dtype.kind not in "biuf":
                raise DataError(f"{name} has the dtype {values.dtype}, expected numbers")
            if values.dtype.kind == "f" and not np.isfinite(values).all():
                rows = np.isfinite(values.reshape(len(values), -1)).all(axis=1)
                raise DataError(
                    f"{name}: {np.sum(~rows)} of {len(values)} examples are not finite, the first"
                    f" at {np.argmin(rows)}; remove or correct these examples"
                )

    @property
    def spec(self) -> Spec:
        return {
            name: jax.ShapeDtypeStruct(array.shape[1:], jax.dtypes.canonicalize_dtype(array.dtype))
            for name, array in self.arrays.items()
        }

    def __len__(self) -> int:
        return len(next(iter(self.arrays.values())))

    def __getitem__(self, index: int) -> HostExample:
        return {name: array[index] for name, array in self.arrays.items()}

    def __getitems__(self, indices: Sequence[int]) -> list[HostExample]:
        return [self[index] for index in indices]

    def rows(self, places: Int[np.ndarray, "chosen"]) -> "ArraySplit":
        """The examples at `places`, in that order."""
        if np.array_equal(places, np.arange(len(self))):
            return self
        return ArraySplit({name: array[places] for name, array in self.arrays.items()})

    def take(self, arrays: Mapping[str, Array], places: Int[Array, "batch"]) -> dict[str, Array]:
        """The batch of examples at `places`. Pure: `arrays` are `self.arrays` on the devices.

        A place of -1 gives some example, which must not count.
        """
        return {name: array[places] for name, array in arrays.items()}


@dataclass(frozen=True)
class WindowSplit(_Shuffled):
    """Windows of one long token array, for language models and word vectors.

    Example i is {"tokens": tokens[i * stride : i * stride + length]}, as int32.

    Attributes:
      tokens: the whole sequence, of any integer type.
      length: tokens in a window.
      stride: tokens from one window to the next; None means `length`.
      contiguous: each row of a batch continues that row of the batch before it, so that recurrent
        state can be carried on. Row b walks through the b-th part of the sequence, in training
        and in evaluation. False: windows are shuffled in training.

    Raises:
        DataError: `length` or `stride` is less than 1; fewer tokens than one window.
    """

    tokens: Integer[np.ndarray, "n"]
    length: int
    stride: int | None = None
    contiguous: bool = True

    def __post_init__(self) -> None:
        if self.length < 1 or self._stride < 1 or len(self.tokens) < self.length:
            raise DataError(
                f"cannot cut {len(self.tokens):,} tokens into windows with length={self.length}"
                f" and stride={self._stride}: expected both to be at least 1 and at least one"
                " whole window"
            )

    @property
    def _stride(self) -> int:
        return self.length if self.stride is None else self.stride

    @property
    def arrays(self) -> dict[str, np.ndarray]:
        return {"tokens": self.tokens}

    @property
    def spec(self) -> Spec:
        return {"tokens": jax.ShapeDtypeStruct((self.length,), np.int32)}

    def __len__(self) -> int:
        return (len(self.tokens) - self.length) // self._stride + 1

    def __getitem__(self, index: int) -> HostExample:
        start = range(len(self))[index] * self._stride
        return {"tokens": self.tokens[start : start + self.length].astype(np.int32)}

    def take(self, arrays: Mapping[str, Array], places: Int[Array, "batch"]) -> dict[str, Array]:
        """The batch of windows at `places`; see `ArraySplit.take`."""
        positions = places[:, None] * self._stride + jnp.arange(self.length)[None, :]
        return {"tokens": arrays["tokens"][positions].astype(jnp.int32)}

    def order(self, seed: int, epoch: int, batch_size: int) -> Int32[np.ndarray, "places"]:
        if self.contiguous:
            return contiguous_order(len(self), batch_size)
        return super().order(seed, epoch, batch_size)

    def evaluation_order(self, batch_size: int) -> Int32[np.ndarray, "places"]:
        if self.contiguous:
            return contiguous_order(len(self), batch_size, padded=True)
        return super().evaluation_order(batch_size)


@dataclass(frozen=True)
class StreamSplit(_Shuffled):
    """A split that is decoded when it is needed, by `cnn_jax.data.stream_batches`.

    Attributes:
      examples: the stored examples, of which some belong to the split.
      indices: their positions in `examples`.
      random_crop: every training image is a random part of the whole image. `examples` must be
        EncodedExamples.
      workers: processes that decode; 0 decodes in a thread of the training process.
      skip_unreadable: an image that cannot be read does not count; otherwise it is an error.
    """

    examples: Examples
    indices: Int[np.ndarray, "examples"]
    random_crop: RandomResizedCrop | None = None
    workers: int = 0
    skip_unreadable: bool = False

    @property
    def spec(self) -> Spec:
        return self.examples.spec

    def __len__(self) -> int:
        return len(self.indices)

    def __getitem__(self, index: int) -> HostExample:
        return self.examples[int(self.indices[index])]


Split = ArraySplit | WindowSplit | StreamSplit


def labels_of(split: Split) -> Int[np.ndarray, "examples"]:
    """The class of every example, in order. Images are decoded only if there is no other way.

    Raises:
        DataError: examples without a label.
    """
    if "label" not in split.spec:
        raise DataError(f"the examples have no label, only {', '.join(split.spec)}")
    match split:
        case ArraySplit(arrays):
            return arrays["label"]
        case StreamSplit(LabelledExamples() as examples, indices):
            return examples.class_of_each()[indices]
    return np.array([split[index]["label"] for index in range(len(split))])
