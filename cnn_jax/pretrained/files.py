"""Files of public weights, from their own servers or the Hugging Face hub, verified."""

import json
import os
import re
from importlib.util import find_spec
from pathlib import Path

from cnn_jax.download import DownloadError, PublishedFile, download, published_size, sha256
from cnn_jax.errors import UserError
from cnn_jax.extras import extra
from cnn_jax.pretrained.catalog import Weights
from cnn_jax.pretrained.preprocessing import Preprocessing


def weights_directory() -> Path:
    """The directory of downloaded weights: cnn_jax/weights in the user's cache directory."""
    user_cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return user_cache / "cnn_jax" / "weights"


def weights_file(weights: Weights, directory: Path) -> Path:
    """The file of public weights in a directory, downloaded if it is missing.

    timm's safetensors on the hub are preferred, because they do not need torch. The published file
    is used if it is already in the directory, or if the hub does not have the weights or cannot be
    reached.

    Raises:
        UserError: the weights cannot be downloaded; the message says how to download them by hand.
    """
    by_hand = directory / weights.file
    failures = []
    if weights.hub and not by_hand.is_file():
        try:
            return hub_file(weights.hub, "model.safetensors", directory)
        except UserError as error:
            failures.append(str(error))
    if not by_hand.is_file() and not find_spec("torch"):
        failures.append(f"{weights.url} can only be read with torch: pip install 'cnn-jax[torch]'")
    else:
        try:
            return published_file(weights, directory)
        except UserError as error:
            failures.append(str(error))
    raise UserError(
        f"the weights {weights.name} of {weights.model} cannot be downloaded.\n  "
        + "\n  ".join(failures)
        + f"\nWithout network: download {weights.url} elsewhere, put it into {directory}, and run "
        "the same command again (torch is needed to read it)."
    )


def published_file(weights: Weights, directory: Path) -> Path:
    """The published file in a directory, downloaded if it is missing and always verified.

    Raises:
        DownloadError: the file cannot be reached, is incomplete (and kept, to be resumed) or has
            another sha256. A file that was there is left alone.
    """
    path = directory / weights.file
    if path.is_file():
        actual = sha256(path)
        if actual.startswith(weights.sha256):
            return path
        raise DownloadError(
            f"{path} is not the published file: its sha256 is {actual}, expected "
            f"{weights.sha256}…; move it away, and run the same command to download it"
        )
    size = published_size(weights.url, seconds=10.0)
    published = PublishedFile(weights.file, size, weights.sha256, (weights.server,))
    return download(published, directory)


def hub_file(repository: str, filename: str, directory: Path) -> Path:
    """A file of a repository on the Hugging Face hub, in the folder "hub" of the directory.

    The hub names large files by their sha256, which is checked each time.

    Raises:
        DownloadError: the file cannot be reached, does not exist, has another sha256 (and is
            deleted), or arrives too slowly.
    """
    folder = directory / "hub" / repository.replace("/", "--")
    for path in folder.glob(f"*/{filename}"):
        if _is_sha256(path.parent.name) and sha256(path) != path.parent.name:
            path.unlink()
            raise DownloadError(
                f"{filename} of {repository} was altered and has been deleted: its sha256 is not "
                f"{path.parent.name}; run the same command to download it again"
            )
        return path
    with extra("download", f"downloading {repository}"):
        import huggingface_hub as hub
    try:
        # A single request without retries, which would take half a minute without network.
        about = hub.get_hf_file_metadata(hub.hf_hub_url(repository, filename))
        address = hub.hf_hub_url(repository, filename, revision=about.commit_hash)
        headers = hub.utils.build_hf_headers()  # with the user's token
    # The hub's errors, those of its HTTP library and OSError share no other base class.
    except Exception as error:
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise DownloadError(f"cannot download {filename} of {repository}: {reason}") from error
    name = about.etag or ""
    if about.size is None or not re.fullmatch("[0-9a-f]{40,64}", name):
        raise DownloadError(
            f"cannot download {filename} of {repository}: the server gives no size or no digest"
        )
    digest = name if _is_sha256(name) else ""
    published = PublishedFile(filename, about.size, digest, (address.removesuffix(filename),))
    return download(published, folder / name, headers=headers)


def _is_sha256(name: str) -> bool:
    return re.fullmatch("[0-9a-f]{64}", name) is not None


def hub_configuration(repository: str, directory: Path) -> tuple[Preprocessing, int]:
    """Preprocessing and number of classes in the config.json of a repository of timm.

    Sizes are those of evaluation (timm's `test_input_size`) if they differ from those of training.

    Raises:
        DownloadError: the file cannot be reached.
        UserError: the repository has no config.json of timm.
    """
    path = hub_file(repository, "config.json", directory)
    try:
        content = json.loads(path.read_text())
        config = content["pretrained_cfg"]
        size = config.get("test_input_size") or config["input_size"]
        crop_fraction = config.get("test_crop_pct") or config["crop_pct"]
        preprocessing = Preprocessing(
            resize=int(size[-1] / crop_fraction),
            crop=size[-1],
            mean=tuple(config["mean"]),
            std=tuple(config["std"]),
            interpolation=config["interpolation"],
        )
        return preprocessing, int(content.get("num_classes") or config["num_classes"])
    except (ValueError, KeyError, TypeError) as error:
        raise UserError(
            f"{repository} is not a repository of timm: its config.json cannot be used "
            f"({type(error).__name__}: {error}); download its weights and pass the file to "
            "cnn_jax.pretrained.from_torch"
        ) from error
