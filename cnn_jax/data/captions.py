"""Images with captions: several sentences about each, as rows of tokens.

Words are those of `split_words`. A row is `BEGIN`, the words of a caption, `END`, and `PADDING` up
to one length. Images with fewer captions than others have rows of padding.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import chain
from pathlib import Path
from typing import Literal

import jax
import numpy as np
from jaxtyping import Int, Int32

from cnn_jax.data.coco_captions import open_captioned_folder
from cnn_jax.data.dataset import Dataset
from cnn_jax.data.decode import LONGEST_SIDE
from cnn_jax.data.errors import DataError
from cnn_jax.data.examples import Examples, HostExample, Spec
from cnn_jax.data.folders import FolderExamples
from cnn_jax.data.load import MOST_WORKERS
from cnn_jax.data.prepare import prepare
from cnn_jax.data.scene_captions import open_captioned_shapes
from cnn_jax.data.splits import ArraySplit
from cnn_jax.data.text import PADDING, UNKNOWN, encode
from cnn_jax.data.words import split_words
from cnn_jax.errors import check_range

BEGIN, END = "<begin>", "<end>"
"""The first two words of a vocabulary, before and after each caption."""
MOST_WORDS = 1000
"""The largest number that captions are padded to."""
Captions = Sequence[Sequence[str]]
"""The captions of each image."""


@dataclass(frozen=True)
class CaptionsConfig:
    """Which images with captions, and how they are split and read."""

    name: str = "shapes"
    """Folder with COCO's captions, annotations/captions_train.json with train/; or "shapes": scenes
    of one or two shapes, with five sentences about each."""
    train: str = ""
    """Training examples, such as "train[:90%]"; by default train without the others."""
    validation: str = ""
    """Validation examples, or "none"; by default the data set's own, else a random tenth."""
    test: str = ""
    """Test examples, or "none"; by default the data set's own."""
    storage: Literal["auto", "device", "stream"] = "auto"
    """Decode once onto the device, or stream; "auto": stream from 1 GiB."""
    image_size: int = 0
    """Resize the shorter side to this and keep the centre square; 0 leaves images as they are.
    Height and width of scenes, by default 32."""
    most_words: int = 0
    """Number of words that captions are padded to; 0: as many as the longest has."""
    least_count: int = 1
    """Times that a word must occur in the training captions; rarer ones are one unknown word."""
    skip_unreadable: bool = False
    """Leave out images of a folder that cannot be read, and name them."""
    workers: int = 0
    """Processes that decode a stream, in training and in evaluation; 0: the training process."""

    def __post_init__(self) -> None:
        check_range(self, 0, LONGEST_SIDE, image_size=self.image_size)
        check_range(self, 0, MOST_WORDS, most_words=self.most_words)
        check_range(self, 1, least_count=self.least_count)
        check_range(self, 0, MOST_WORKERS, workers=self.workers)


def load_captions(config: CaptionsConfig) -> Dataset:
    """The data set, with the entries `image` and `tokens` [captions, most_words + 2].

    Class names are the words: `BEGIN`, `END`, those of the stored training captions, frequent ones
    first, and, where a caption has another word, `UNKNOWN`.

    Raises:
        DataError: no such data set, an image or a file that cannot be read, a caption without words
            or with more than `most_words`.
    """
    if config.name == "shapes":
        stored, captions = open_captioned_shapes(config.image_size)
    else:
        stored, captions = open_captioned_folder(
            config.name, config.image_size, skip_unreadable=config.skip_unreadable
        )
    names = _vocabulary(captions, config.least_count)
    everything = [*chain.from_iterable(captions.values())]
    longest = max(len(split_words(text)) for text in chain.from_iterable(everything))
    splits: dict[str, Examples] = {}
    for split, images in stored.splits.items():
        tokens = caption_tokens(
            captions[split],
            names,
            most_captions=max(map(len, everything)),
            most_words=config.most_words or longest,
        )
        match images:
            case ArraySplit(arrays):
                splits[split] = ArraySplit({**arrays, "tokens": tokens})
            case FolderExamples():
                splits[split] = CaptionedFiles(images, tokens)
    return prepare(
        replace(stored, splits=splits, class_names=names),
        train=config.train,
        validation=config.validation,
        test=config.test,
        storage=config.storage,
        workers=config.workers,
        skip_unreadable=config.skip_unreadable,
    )


def caption_tokens(
    captions: Captions, names: Sequence[str], *, most_captions: int, most_words: int
) -> Int32[np.ndarray, "images {most_captions} {most_words}+2"]:
    """The captions of images as tokens.

    Args:
        captions: of each image, at most `most_captions`.
        names: the vocabulary.
        most_captions: rows of each image.
        most_words: of a caption.

    Raises:
        DataError: a caption without words or with more than `most_words`, or a word that is not in
            the vocabulary, unless `UNKNOWN` is.
    """
    tokens = np.full((len(captions), most_captions, most_words + 2), PADDING, np.int32)
    rows: list[np.ndarray] = []
    sentences: list[list[str]] = []
    for of_image, texts in zip(tokens, captions, strict=True):
        for row, text in zip(of_image, texts, strict=False):
            words = split_words(text)
            if not words:
                raise DataError(f"a caption has no words: {text!r}; write some, or remove it")
            if len(words) > most_words:
                raise DataError(
                    f"the caption {text!r} has {len(words)} words, and {most_words} fit: set"
                    f" --data.most-words to {len(words)} or more, or to 0 for as many as the"
                    " longest has"
                )
            rows.append(row)
            sentences.append([BEGIN, *words, END])
    # All at once: the vocabulary may be large.
    encoded = encode(chain.from_iterable(sentences), names)
    ends = np.cumsum([len(sentence) for sentence in sentences])
    for row, part in zip(rows, np.split(encoded, ends[:-1]), strict=True):
        row[: len(part)] = part
    return tokens


def join_words(tokens: Sequence[int] | Int[np.ndarray, " length"], names: Sequence[str]) -> str:
    """The caption of a row of tokens, without what is no word."""
    words = (names[token] for token in tokens if token != PADDING)
    return " ".join(word for word in words if word not in (BEGIN, END))


def _vocabulary(captions: Mapping[str, Captions], least_count: int) -> tuple[str, ...]:
    def words(of_split: Captions) -> Counter[str]:
        return Counter(chain.from_iterable(map(split_words, chain.from_iterable(of_split))))

    counts = {split: words(of_split) for split, of_split in captions.items()}
    training = counts.get("train", next(iter(counts.values())))
    known = [word for word, count in training.most_common() if count >= least_count]
    unknown = set().union(*counts.values()) - set(known)
    return (BEGIN, END, *known, *([UNKNOWN] if unknown else []))


@dataclass(frozen=True)
class CaptionedFiles:
    """Random access to image files with the tokens of their captions."""

    images: FolderExamples
    tokens: Int32[np.ndarray, "examples captions length"]

    def __len__(self) -> int:
        return len(self.images)

    @property
    def spec(self) -> Spec:
        return {
            "image": self.images.spec["image"],
            "tokens": jax.ShapeDtypeStruct(self.tokens.shape[1:], np.int32),
        }

    def __getitem__(self, index: int) -> HostExample:
        return {"image": self.images[index]["image"], "tokens": self.tokens[index]}

    def __getitems__(self, indices: Sequence[int]) -> list[HostExample]:
        return [self[index] for index in indices]

    @property
    def paths(self) -> list[Path]:
        """The files of the images."""
        return self.images.paths

    def check(self, index: int) -> None:
        """Raises UnreadableImage if the file of an example cannot be read."""
        self.images.check(index)

    def rows(self, places: Sequence[int]) -> "CaptionedFiles":
        """The examples at `places`, in that order."""
        return CaptionedFiles(self.images.rows(places), self.tokens[list(places)])
