"""Images with captions: several sentences about each, as rows of tokens.

Words are those of `split_words`. A row is `BEGIN`, the words of a caption, `END`, and `PADDING` up
to one length. Images with fewer captions than others have rows of padding.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import chain
from typing import Literal

import jax
import numpy as np
from jaxtyping import Int32

from cnn_jax.data.dataset import Dataset
from cnn_jax.data.decode import LONGEST_SIDE
from cnn_jax.data.errors import DataError
from cnn_jax.data.examples import Examples, HostExample, Spec
from cnn_jax.data.prepare import prepare
from cnn_jax.data.scene_captions import open_captioned_shapes
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
    """Name "shapes": scenes of one or two shapes, with five sentences about each."""
    train: str = ""
    """Training examples, such as "train[:90%]"; by default train without the others."""
    validation: str = ""
    """Validation examples, or "none"; by default the data set's own, else a random tenth."""
    test: str = ""
    """Test examples, or "none"; by default the data set's own."""
    storage: Literal["auto", "device", "stream"] = "auto"
    """Decode once onto the device, or stream; "auto": stream from 1 GiB."""
    image_size: int = 0
    """Height and width of scenes, by default 64."""
    most_words: int = 0
    """Number of words that captions are padded to; 0: as many as the longest has."""
    least_count: int = 1
    """Times that a word must occur in the training captions; rarer ones are one unknown word."""

    def __post_init__(self) -> None:
        check_range(self, 0, LONGEST_SIDE, image_size=self.image_size)
        check_range(self, 0, MOST_WORDS, most_words=self.most_words)
        check_range(self, 1, least_count=self.least_count)


def load_captions(config: CaptionsConfig) -> Dataset:
    """The data set, with the entries `image` and `tokens` [captions, most_words + 2].

    Class names are the words: `BEGIN`, `END`, those of the stored training captions, frequent ones
    first, and, where a caption has another word, `UNKNOWN`.

    Raises:
        DataError: no such data set, a caption without words or with more than `most_words`.
    """
    stored, captions = open_captioned_shapes(config.image_size)
    names = _vocabulary(captions, config.least_count)
    everything = [*chain.from_iterable(captions.values())]
    longest = max(len(split_words(text)) for text in chain.from_iterable(everything))
    splits = {
        split: CaptionedExamples(
            stored.splits[split],
            caption_tokens(
                of_split,
                names,
                most_captions=max(map(len, everything)),
                most_words=config.most_words or longest,
            ),
        )
        for split, of_split in captions.items()
    }
    return prepare(
        replace(stored, splits=splits, class_names=names),
        train=config.train,
        validation=config.validation,
        test=config.test,
        storage=config.storage,
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


def join_words(tokens: Sequence[int], names: Sequence[str]) -> str:
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
class CaptionedExamples:
    """Images with the tokens of their captions."""

    images: Examples
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
