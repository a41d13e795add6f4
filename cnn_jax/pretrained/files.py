"""Files of public weights, from torchvision's server or the Hugging Face hub, unaltered."""

import json
import os
import re
from importlib.util import find_spec
from pathlib import Path

from cnn_jax.download import DownloadError, PublishedFile, download, published_size, sha256
from cnn_jax.errors import UserError
from cnn_jax.pretrained.catalog import TORCHVISION, Weights
from cnn_jax.pretrained.preprocessing import Preprocessing


def weights_directory() -> Path:
    """Where downloaded weights are kept: cnn_jax/weights in the user's cache directory."""
    user_cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return user_cache / "cnn_jax" / "weights"


def weights_file(weights: Weights, directory: Path, server: str = TORCHVISION) -> Path:
    """The file of public weights in a directory, downloaded if it is not there yet.

    timm's safetensors on the hub, which need no torch, come first; torchvision's own file if it
    lies in the directory already, or if there is nothing on the hub, or it is out of reach.

    Raises:
        UserError: the weights are out of reach; the message says where they are, and where to put
            them by hand.
    """
    by_hand = directory / weights.file
    failures = []
    if weights.hub and not by_hand.is_file():
        try:
            return hub_file(weights.hub, "model.safetensors", directory)
        except UserError as error:
            failures.append(str(error))
    if not by_hand.is_file() and not find_spec("torch"):
        failures.append(f"{server}{weights.file} can only be read with torch: pip install torch")
    else:
        try:
            return torchvision_file(weights, directory, server)
        except UserError as error:
            failures.append(str(error))
    raise UserError(
        f"the weights {weights.name} of {weights.model} cannot be had.\n  "
        + "\n  ".join(failures)
        + f"\nWithout network: download {weights.url} elsewhere, put it into {directory}, and run "
        "the same again (it is read with torch)."
    )


def torchvision_file(weights: Weights, directory: Path, server: str = TORCHVISION) -> Path:
    """The file of torchvision in a directory, downloaded if needed; its sha256 is always checked.

    Raises:
        DownloadError: out of reach, broken off (what has arrived is kept) or altered (deleted).
    """
    path = directory / weights.file
    if path.is_file():
        actual = sha256(path)
        if actual.startswith(weights.sha256):
            return path
        path.unlink()
        raise DownloadError(
            f"{path} was not the published file, and is deleted: its sha256 is {actual}, expected "
            f"{weights.sha256}…; the same command downloads it again"
        )
    size = published_size(server + weights.file, seconds=10.0)
    return download(PublishedFile(weights.file, size, weights.sha256, (server,)), directory)


def hub_file(repository: str, filename: str, directory: Path) -> Path:
    """A file of a repository on the Hugging Face hub, in the directory's folder "hub".

    The hub names large files by their sha256, and so does the folder: it is checked each time.

    Raises:
        DownloadError: out of reach, not there, or altered (deleted).
    """
    try:
        import huggingface_hub as hub
    except ImportError as error:
        raise DownloadError(
            f"{repository} needs huggingface_hub: pip install huggingface_hub"
        ) from error
    folder = directory / "hub"
    expected = ""
    try:
        try:
            path = hub.hf_hub_download(
                repository, filename, cache_dir=folder, local_files_only=True
            )
        except hub.errors.LocalEntryNotFoundError:
            # One question without a second try, or it takes half a minute to find no network.
            expected = hub.get_hf_file_metadata(hub.hf_hub_url(repository, filename)).etag or ""
            path = hub.hf_hub_download(repository, filename, cache_dir=folder)
    # Its own errors, those of its HTTP library and OSError have no other base in common.
    except Exception as error:
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise DownloadError(f"{filename} of {repository} cannot be had: {reason}") from error
    stored = Path(path).resolve()
    expected = expected or stored.name
    if re.fullmatch("[0-9a-f]{64}", expected) and sha256(stored) != expected:
        stored.unlink()
        Path(path).unlink(missing_ok=True)
        raise DownloadError(
            f"{filename} of {repository} was altered, and is deleted: its sha256 is not "
            f"{expected}; the same command downloads it again"
        )
    return Path(path)


def hub_configuration(repository: str, directory: Path) -> tuple[Preprocessing, int]:
    """Preprocessing and number of classes that timm states for a repository of its own.

    The sizes are those of the published accuracy (timm's `test_input_size`), where they differ
    from those of training.

    Raises:
        DownloadError: out of reach.
        UserError: a repository without timm's config.json.
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
            f"{repository} is not one of timm's repositories: its config.json says nothing of "
            f"{error}; give its file to cnn_jax.pretrained.from_torch"
        ) from error
