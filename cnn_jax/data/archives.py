"""The official archives of CIFAR-10, CIFAR-100, MNIST and Fashion-MNIST, and their formats.

Sizes and sha256 are those of TFDS's url_checksums (cifar10.txt, cifar100.txt, mnist.txt,
fashion_mnist.txt). The files of all mirrors must match them, so any mirror will do. CIFAR is read
from its binary version, because the Python version is pickled.
"""

import gzip
import struct
import tarfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import UInt8

from cnn_jax.data.errors import DataError
from cnn_jax.data.names import CLASS_NAMES
from cnn_jax.download import PublishedFile

Record = dict[str, Any]
"""An example: "image" as a uint8 array, and the other features as TFDS stores them."""


@dataclass(frozen=True)
class Official:
    """What is needed to write the genuine TFDS data set from the official archives.

    Version and features are those of the TFDS builder of the same name. `read` returns the records
    of every split in the official order, and the class names of every label.
    """

    version: str
    archives: tuple[PublishedFile, ...]
    image_shape: tuple[int, int, int]
    labels: tuple[str, ...]
    """The names of the label features; the first one is the class."""
    has_id: bool
    sizes: Mapping[str, int]
    read: Callable[[Path], tuple[dict[str, Iterator[Record]], dict[str, tuple[str, ...]]]]
    description: str
    homepage: str
    citation: str


def read_cifar10(
    folder: Path,
) -> tuple[dict[str, Iterator[Record]], dict[str, tuple[str, ...]]]:
    """Records of "cifar-10-binary.tar.gz": a byte of label, then 3x32x32 bytes of image."""
    inside = "cifar-10-batches-bin/"
    archive = folder / "cifar-10-binary.tar.gz"
    batches = [f"{inside}data_batch_{number}.bin" for number in range(1, 6)]
    splits = {
        "train": _cifar_records(archive, "train", batches, ("label",)),
        "test": _cifar_records(archive, "test", [f"{inside}test_batch.bin"], ("label",)),
    }
    return splits, {"label": _cifar_names(archive, f"{inside}batches.meta.txt")}


def read_cifar100(
    folder: Path,
) -> tuple[dict[str, Iterator[Record]], dict[str, tuple[str, ...]]]:
    """Records of "cifar-100-binary.tar.gz": coarse label, fine label, image."""
    inside = "cifar-100-binary/"
    archive = folder / "cifar-100-binary.tar.gz"
    labels = ("coarse_label", "label")
    splits = {
        split: _cifar_records(archive, split, [f"{inside}{split}.bin"], labels)
        for split in ("train", "test")
    }
    return splits, {
        "label": _cifar_names(archive, f"{inside}fine_label_names.txt"),
        "coarse_label": _cifar_names(archive, f"{inside}coarse_label_names.txt"),
    }


def _cifar_records(
    archive: Path, split: str, members: list[str], labels: tuple[str, ...]
) -> Iterator[Record]:
    number = 0
    for member in members:
        content = np.frombuffer(_member(archive, member), np.uint8)
        length = len(labels) + 3 * 32 * 32
        if content.size % length:
            raise DataError(f"{member} in {archive} is not in CIFAR's binary format")
        for row in content.reshape(-1, length):
            image = row[len(labels) :].reshape(3, 32, 32).transpose(1, 2, 0)
            record = {name: int(label) for name, label in zip(labels, row, strict=False)}
            yield record | {"id": f"{split}_{number:05d}", "image": image}
            number += 1


def _cifar_names(archive: Path, member: str) -> tuple[str, ...]:
    lines = _member(archive, member).decode().splitlines()
    return tuple(line.strip() for line in lines if line.strip())


def _member(archive: Path, member: str) -> bytes:
    try:
        with tarfile.open(archive, "r:gz") as tar:
            file = tar.extractfile(member)
            if file is not None:
                return file.read()
    except (KeyError, tarfile.TarError, OSError, EOFError) as error:
        raise DataError(f"cannot read {member} in {archive}: {error}") from error
    raise DataError(f"{member} in {archive} is not a file")


def read_mnist(
    folder: Path, names: tuple[str, ...] = tuple("0123456789")
) -> tuple[dict[str, Iterator[Record]], dict[str, tuple[str, ...]]]:
    """Records of the four IDX files of MNIST and of data sets in the same format."""

    def records(prefix: str) -> Iterator[Record]:
        images = read_idx(folder / f"{prefix}-images-idx3-ubyte.gz")
        labels = read_idx(folder / f"{prefix}-labels-idx1-ubyte.gz")
        for image, label in zip(images, labels, strict=True):
            yield {"image": image[..., None], "label": int(label)}

    return {"train": records("train"), "test": records("t10k")}, {"label": names}


def read_idx(path: Path) -> UInt8[np.ndarray, "..."]:
    """An IDX file of bytes: two zeros, 8 for uint8, the rank, the sizes, the values."""
    try:
        content = gzip.decompress(path.read_bytes())
        zeros, kind, rank = struct.unpack_from(">HBB", content)
        shape = struct.unpack_from(f">{rank}I", content, 4)
        values = np.frombuffer(content, np.uint8, offset=4 + 4 * rank)
        if zeros or kind != 8:
            raise ValueError("it does not start with 0, 0, 8")
        return values.reshape(shape)
    except (OSError, EOFError, ValueError, struct.error) as error:
        raise DataError(f"{path} is not an IDX file: {error}") from error


def _read_fashion_mnist(
    folder: Path,
) -> tuple[dict[str, Iterator[Record]], dict[str, tuple[str, ...]]]:
    return read_mnist(folder, CLASS_NAMES["fashion_mnist"])


_TORONTO = ("https://www.cs.toronto.edu/~kriz/",)
_MNIST = (
    "https://storage.googleapis.com/cvdf-datasets/mnist/",
    "https://ossci-datasets.s3.amazonaws.com/mnist/",
    "http://yann.lecun.com/exdb/mnist/",
)
_FASHION = (
    "http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/",
    "https://raw.githubusercontent.com/zalandoresearch/fashion-mnist/master/data/fashion/",
)
_KRIZHEVSKY = """@TECHREPORT{Krizhevsky09learningmultiple,
    author = {Alex Krizhevsky},
    title = {Learning multiple layers of features from tiny images},
    institution = {University of Toronto},
    year = {2009}
}"""

OFFICIAL: dict[str, Official] = {
    "cifar10": Official(
        version="3.0.2",
        archives=(
            PublishedFile(
                "cifar-10-binary.tar.gz",
                170_052_171,
                "c4a38c50a1bc5f3a1c5537f2155ab9d68f9f25eb1ed8d9ddda3db29a59bca1dd",
                _TORONTO,
            ),
        ),
        image_shape=(32, 32, 3),
        labels=("label",),
        has_id=True,
        sizes={"train": 50_000, "test": 10_000},
        read=read_cifar10,
        description="60,000 colour images of 32x32 pixels in 10 classes, 6,000 each.",
        homepage="https://www.cs.toronto.edu/~kriz/cifar.html",
        citation=_KRIZHEVSKY,
    ),
    "cifar100": Official(
        version="3.0.2",
        archives=(
            PublishedFile(
                "cifar-100-binary.tar.gz",
                168_513_733,
                "58a81ae192c23a4be8b1804d68e518ed807d710a4eb253b1f2a199162a40d8ec",
                _TORONTO,
            ),
        ),
        image_shape=(32, 32, 3),
        labels=("label", "coarse_label"),
        has_id=True,
        sizes={"train": 50_000, "test": 10_000},
        read=read_cifar100,
        description="60,000 colour images of 32x32 pixels in 100 classes, 600 each.",
        homepage="https://www.cs.toronto.edu/~kriz/cifar.html",
        citation=_KRIZHEVSKY,
    ),
    "mnist": Official(
        version="3.0.1",
        archives=(
            PublishedFile(
                "train-images-idx3-ubyte.gz",
                9_912_422,
                "440fcabf73cc546fa21475e81ea370265605f56be210a4024d2ca8f203523609",
                _MNIST,
            ),
            PublishedFile(
                "train-labels-idx1-ubyte.gz",
                28_881,
                "3552534a0a558bbed6aed32b30c495cca23d567ec52cac8be1a0730e8010255c",
                _MNIST,
            ),
            PublishedFile(
                "t10k-images-idx3-ubyte.gz",
                1_648_877,
                "8d422c7b0a1c1c79245a5bcf07fe86e33eeafee792b84584aec276f5a2dbc4e6",
                _MNIST,
            ),
            PublishedFile(
                "t10k-labels-idx1-ubyte.gz",
                4_542,
                "f7ae60f92e00ec6debd23a6088c31dbd2371eca3ffa0defaefb259924204aec6",
                _MNIST,
            ),
        ),
        image_shape=(28, 28, 1),
        labels=("label",),
        has_id=False,
        sizes={"train": 60_000, "test": 10_000},
        read=read_mnist,
        description="70,000 handwritten digits of 28x28 pixels.",
        homepage="http://yann.lecun.com/exdb/mnist/",
        citation="""@article{lecun2010mnist,
  title={MNIST handwritten digit database},
  author={LeCun, Yann and Cortes, Corinna and Burges, CJ},
  year={2010}
}""",
    ),
    "fashion_mnist": Official(
        version="3.0.1",
        archives=(
            PublishedFile(
                "train-images-idx3-ubyte.gz",
                26_421_880,
                "3aede38d61863908ad78613f6a32ed271626dd12800ba2636569512369268a84",
                _FASHION,
            ),
            PublishedFile(
                "train-labels-idx1-ubyte.gz",
                29_515,
                "a04f17134ac03560a47e3764e11b92fc97de4d1bfaf8ba1a3aa29af54cc90845",
                _FASHION,
            ),
            PublishedFile(
                "t10k-images-idx3-ubyte.gz",
                4_422_102,
                "346e55b948d973a97e58d2351dde16a484bd415d4595297633bb08f03db6a073",
                _FASHION,
            ),
            PublishedFile(
                "t10k-labels-idx1-ubyte.gz",
                5_148,
                "67da17c76eaffca5446c3361aaab5c3cd6d1c2608764d35dfb1850b086bf8dd5",
                _FASHION,
            ),
        ),
        image_shape=(28, 28, 1),
        labels=("label",),
        has_id=False,
        sizes={"train": 60_000, "test": 10_000},
        read=_read_fashion_mnist,
        description="70,000 pictures of articles of clothing, 28x28 pixels, 10 classes.",
        homepage="https://github.com/zalandoresearch/fashion-mnist",
        citation="""@article{xiao2017fashion,
  title={Fashion-MNIST: a Novel Image Dataset for Benchmarking Machine Learning Algorithms},
  author={Han Xiao and Kashif Rasul and Roland Vollgraf},
  journal={arXiv:1708.07747},
  year={2017}
}""",
    ),
}
