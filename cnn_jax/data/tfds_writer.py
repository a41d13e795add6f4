"""Writes genuine TFDS directories from the official archives, without TensorFlow."""

import io
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout
from pathlib import Path
from typing import Any

from PIL import Image as PillowImage
from rich.console import Console
from rich.progress import track

from cnn_jax.data.archives import OFFICIAL, Official, Record
from cnn_jax.data.errors import DataError
from cnn_jax.data.tfds_reader import find_prepared, import_tfds
from cnn_jax.download import (
    DownloadError,
    PublishedFile,
    download,
    is_complete,
    reachable_mirrors,
)


def within_reach(name: str, directory: Path) -> bool:
    """Whether a data set could be written now. Takes a few seconds at most."""
    if name not in OFFICIAL:
        return False
    missing = _missing(name, directory)
    return not missing or bool(reachable_mirrors(missing[0]))


def write_tfds(name: str, directory: Path) -> Path:
    """Downloads a data set and writes it where TFDS expects it. Returns the prepared folder.

    The archives go to directory/downloads/name, and are deleted at the end. Archives that are
    already there are not downloaded. The data set is written to a temporary folder and then
    renamed, so that a killed run leaves no incomplete data set. Processes that write the same data
    set take turns.

    Raises:
        DataError: no mirror can be reached, a download fails, or the folder cannot be written.
    """
    tfds = import_tfds(name)
    if not within_reach(name, directory):
        raise DataError(no_network(name, directory))
    downloads = directory / "downloads" / name
    try:
        downloads.mkdir(parents=True, exist_ok=True)
        with _alone(directory / "downloads" / f"{name}.lock"):
            if there := find_prepared(name, directory):
                return there
            for archive in _missing(name, directory):
                mirrors = reachable_mirrors(archive)
                if not mirrors:
                    raise DataError(no_network(name, directory))
                download(archive, downloads, mirrors)
            prepared = _write(tfds, name, OFFICIAL[name], downloads, directory)
            shutil.rmtree(downloads, ignore_errors=True)
            return prepared
    except DownloadError as error:
        raise DataError(str(error)) from error
    except OSError as error:
        raise DataError(
            f"cannot write {name} to {directory}: {error.strerror or error}. Choose another"
            " directory with TFDS_DATA_DIR or --data.dir"
        ) from error


def _missing(name: str, directory: Path) -> list[PublishedFile]:
    folder = directory / "downloads" / name
    return [one for one in OFFICIAL[name].archives if not is_complete(one, folder)]


def no_network(name: str, directory: Path) -> str:
    """The message for a data set that is not prepared and cannot be downloaded."""
    hosts = ", ".join(mirror.split("/")[2] for mirror in OFFICIAL[name].archives[0].mirrors)
    return (
        f"{name} is not prepared under {directory}, and {hosts} cannot be reached to download it."
        f" Set TFDS_DATA_DIR or --data.dir to a directory that holds {name}, connect to a"
        f" network, or put {', '.join(one.filename for one in OFFICIAL[name].archives)} into"
        f" {directory / 'downloads' / name}."
    )


@contextmanager
def _alone(lock: Path) -> Iterator[None]:
    """Holds a lock that is released when the process ends, however it ends."""
    try:
        import fcntl
    except ImportError:  # Windows: two processes at once only do the work twice
        yield
        return
    with lock.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _write(tfds: Any, name: str, official: Official, downloads: Path, directory: Path) -> Path:
    for stale in directory.glob(f".preparing-{name}-*"):  # of a run that was killed
        shutil.rmtree(stale, ignore_errors=True)
    with tempfile.TemporaryDirectory(prefix=f".preparing-{name}-", dir=directory) as temporary:
        builder = _builder(tfds, name, official, downloads)(data_dir=temporary)
        tfds.disable_progress_bar()  # ours stays, and the output of TFDS adds nothing to it
        with redirect_stdout(io.StringIO()):
            builder.download_and_prepare(
                file_format="array_record",
                download_config=tfds.download.DownloadConfig(try_download_gcs=False),
            )
        sizes = {split: info.num_examples for split, info in builder.info.splits.items()}
        if sizes != dict(official.sizes):
            raise DataError(
                f"the archives of {name} hold {sizes} examples, expected {dict(official.sizes)}"
            )
        target = directory / name / official.version
        target.parent.mkdir(exist_ok=True)
        Path(builder.data_dir).rename(target)
    return target


def _builder(tfds: Any, name: str, official: Official, downloads: Path) -> Any:
    """A TFDS builder of the genuine name, version and features that reads our archives."""
    splits, names = official.read(downloads)
    features: dict[str, Any] = {"id": tfds.features.Text()} if official.has_id else {}
    features["image"] = tfds.features.Image(shape=official.image_shape, encoding_format="png")
    for label in official.labels:
        features[label] = tfds.features.ClassLabel(names=names[label])

    def info(self: Any) -> Any:
        return tfds.core.DatasetInfo(
            builder=self,
            description=official.description,
            features=tfds.features.FeaturesDict(features),
            supervised_keys=("image", official.labels[0]),
            homepage=official.homepage,
            citation=official.citation,
        )

    def generate(split: str) -> Iterator[tuple[int, Record]]:
        records = track(
            splits[split],
            f"{name} {split}",
            total=official.sizes[split],
            console=Console(stderr=True),
        )
        # TFDS itself uses the running number as key, so the shuffled order is the genuine one.
        for number, record in enumerate(records):
            yield number, record | {"image": io.BytesIO(encode_png(record["image"]))}

    base: Any = tfds.core.GeneratorBasedBuilder

    class Builder(base, skip_registration=True):  # type: ignore[call-arg]
        VERSION = tfds.core.Version(official.version)
        _info = info

        def _split_generators(self, manager: Any) -> dict[str, Iterator[tuple[int, Record]]]:
            return {split: generate(split) for split in splits}

        def _generate_examples(self) -> None:
            raise NotImplementedError  # abstract in TFDS; the generators come from above

    Builder.name = name
    return Builder


def encode_png(image: Any) -> bytes:
    """An image [height, width, 1 or 3] as PNG bytes."""
    file = io.BytesIO()
    PillowImage.fromarray(image[..., 0] if image.shape[-1] == 1 else image).save(file, "png")
    return file.getvalue()
