import dataclasses
import hashlib
import json
import re
import socket

import pytest

from cnn_jax.download import DownloadError
from cnn_jax.errors import UserError
from cnn_jax.pretrained import Preprocessing, Weights, files
from cnn_jax.pretrained.files import hub_configuration, hub_file, published_file, weights_file

CONTENT = bytes(range(256)) * 500
DIGEST = hashlib.sha256(CONTENT).hexdigest()
# The hub holds no AlexNet, so that its weights come from torchvision's server alone.
ALEXNET = Weights("alexnet", "IMAGENET1K_V1", f"alexnet-owt-{DIGEST[:8]}.pth", 56.0, 79.0, 1)
RESNET = Weights("resnet18", "IMAGENET1K_V1", f"resnet18-{DIGEST[:8]}.pth", 69.0, 89.0, 1)
REPOSITORY = "timm/resnet18.tv_in1k"


@pytest.fixture(autouse=True)
def with_torch(monkeypatch):
    """A .pth file is worth its download only where torch can read it; here it need not be there."""
    monkeypatch.setattr(files, "find_spec", lambda name: name)


@pytest.fixture
def hub(web_server, monkeypatch):
    """A function that publishes a file as the Hugging Face hub does."""
    constants = pytest.importorskip("huggingface_hub.constants")
    endpoint = web_server.address.rstrip("/")
    template = constants.HUGGINGFACE_CO_URL_TEMPLATE.replace(constants.ENDPOINT, endpoint)
    monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)
    monkeypatch.setattr(constants, "ENDPOINT", endpoint)

    def publish(filename, content, etag):
        for revision in ("main", "c" * 40):
            name = f"{REPOSITORY}/resolve/{revision}/{filename}"
            web_server.files[name] = content
            web_server.headers[name] = {"ETag": f'"{etag}"', "X-Repo-Commit": "c" * 40}

    return publish


def at(weights, address):
    """The weights, published at that address."""
    return dataclasses.replace(weights, server=address)


def closed_address():
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return f"http://127.0.0.1:{one.getsockname()[1]}/"


def test_torchvisions_file_is_downloaded_once_and_checked(web_server, tmp_path):
    web_server.files[ALEXNET.file] = CONTENT
    path = weights_file(at(ALEXNET, web_server.address), tmp_path / "weights")
    assert path == tmp_path / "weights" / ALEXNET.file and path.read_bytes() == CONTENT
    questions = len(web_server.log)
    assert weights_file(at(ALEXNET, web_server.address), tmp_path / "weights") == path
    assert len(web_server.log) == questions


def test_an_altered_file_is_refused(web_server, tmp_path):
    web_server.files[ALEXNET.file] = CONTENT[::-1]
    with pytest.raises(DownloadError, match="not the published file, and deleted: its sha256 is"):
        published_file(at(ALEXNET, web_server.address), tmp_path)
    assert list(tmp_path.iterdir()) == []
    # A file that was there may be the user's own.
    (tmp_path / ALEXNET.file).write_bytes(CONTENT[:-1])
    with pytest.raises(DownloadError, match=f"expected {DIGEST[:8]}…; move it away, and run the"):
        published_file(at(ALEXNET, web_server.address), tmp_path)
    assert (tmp_path / ALEXNET.file).read_bytes() == CONTENT[:-1]


def test_without_network_there_is_a_way_out(tmp_path):
    weights = at(ALEXNET, closed_address())
    with pytest.raises(UserError) as error:
        weights_file(weights, tmp_path)
    message = str(error.value)
    assert "IMAGENET1K_V1 of alexnet cannot be downloaded" in message and "refused" in message
    assert f"download {weights.url} elsewhere, put it into {tmp_path}, and run" in message
    (tmp_path / ALEXNET.file).write_bytes(CONTENT)
    assert weights_file(weights, tmp_path) == tmp_path / ALEXNET.file


def test_without_torch_its_file_is_not_downloaded(web_server, tmp_path, monkeypatch):
    monkeypatch.setattr(files, "find_spec", lambda name: None)
    web_server.files[ALEXNET.file] = CONTENT
    with pytest.raises(UserError, match=r"can only be read with torch: .*cnn-jax\[torch\]"):
        weights_file(at(ALEXNET, web_server.address), tmp_path)
    assert web_server.log == []


def test_a_full_disk(web_server, tmp_path, monkeypatch):
    web_server.files[ALEXNET.file] = CONTENT

    def full(path, *arguments, **options):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("pathlib.Path.open", full)
    with pytest.raises(UserError, match=f"cannot write to {tmp_path}: No space left on device"):
        weights_file(at(ALEXNET, web_server.address), tmp_path)


def test_the_hub_comes_first(web_server, hub, tmp_path):
    hub("model.safetensors", CONTENT, DIGEST)
    path = weights_file(at(RESNET, closed_address()), tmp_path)
    assert path.read_bytes() == CONTENT and path.is_relative_to(tmp_path / "hub")
    questions = len(web_server.log)
    assert hub_file(REPOSITORY, "model.safetensors", tmp_path) == path
    assert len(web_server.log) == questions


def test_torchvision_helps_where_the_hub_does_not(web_server, hub, tmp_path):
    web_server.files[RESNET.file] = CONTENT
    path = weights_file(at(RESNET, web_server.address), tmp_path)
    assert path == tmp_path / RESNET.file
    with pytest.raises(UserError) as error:
        weights_file(at(RESNET, web_server.address + "nowhere/"), tmp_path / "other")
    assert "cannot download model.safetensors of timm/resnet18.tv_in1k: " in str(error.value)
    assert f"{RESNET.file} is out of reach: the server answers 404" in str(error.value)


def test_an_altered_file_of_the_hub_is_deleted(hub, tmp_path):
    hub("model.safetensors", CONTENT[::-1], DIGEST)
    with pytest.raises(DownloadError, match=f"not the published file, and deleted: .* {DIGEST}"):
        hub_file(REPOSITORY, "model.safetensors", tmp_path)
    hub("model.safetensors", CONTENT, DIGEST)
    path = hub_file(REPOSITORY, "model.safetensors", tmp_path)
    path.write_bytes(b"damaged since")
    with pytest.raises(
        DownloadError, match=f"altered and has been deleted: .* {DIGEST}; run the same"
    ):
        hub_file(REPOSITORY, "model.safetensors", tmp_path)
    assert hub_file(REPOSITORY, "model.safetensors", tmp_path).read_bytes() == CONTENT


def test_a_hub_that_sends_a_byte_now_and_then_is_given_up(web_server, hub, tmp_path, monkeypatch):
    monkeypatch.setattr("cnn_jax.download.BLOCK_SECONDS", 0.5)
    hub("model.safetensors", CONTENT, DIGEST)
    web_server.drip = 0.05
    with pytest.raises(DownloadError, match="slower than 16,384 bytes in 0.5 seconds"):
        hub_file(REPOSITORY, "model.safetensors", tmp_path)


def test_a_download_of_the_hub_goes_on_with_the_users_token(web_server, hub, tmp_path, monkeypatch):
    monkeypatch.setenv("HF_TOKEN", "hf_secret")
    hub("model.safetensors", CONTENT, DIGEST)
    web_server.stop_after = 50_000
    path = hub_file(REPOSITORY, "model.safetensors", tmp_path)
    assert path.read_bytes() == CONTENT
    got = [wanted for method, _, wanted in web_server.log if method == "GET"]
    assert got == [None, "bytes=49152-", "bytes=98304-"]
    assert set(web_server.tokens) == {"Bearer hf_secret"}


def test_the_preprocessing_that_timm_states(hub, tmp_path):
    # As in timm's resnet50.a1_in1k.
    config = {
        "input_size": [3, 224, 224],
        "test_input_size": [3, 288, 288],
        "crop_pct": 0.95,
        "test_crop_pct": 1.0,
        "interpolation": "bicubic",
        "mean": [0.485, 0.456, 0.406],
        "std": [0.229, 0.224, 0.225],
    }
    text = json.dumps({"num_classes": 1000, "pretrained_cfg": config}).encode()
    hub("config.json", text, hashlib.sha1(text).hexdigest())
    assert hub_configuration(REPOSITORY, tmp_path) == (
        Preprocessing(288, 288, interpolation="bicubic"),
        1000,
    )


def test_a_repository_of_someone_else(hub, tmp_path):
    hub("config.json", b'{"architectures": ["ResNet"]}', "a" * 40)
    with pytest.raises(UserError, match="not a repository of timm: .* 'pretrained_cfg'"):
        hub_configuration(REPOSITORY, tmp_path)


def test_files_are_kept_in_the_users_cache(monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert files.weights_directory() == tmp_path / "cnn_jax" / "weights"
    monkeypatch.delenv("XDG_CACHE_HOME")
    assert re.search(r"\.cache/cnn_jax/weights$", str(files.weights_directory()))
