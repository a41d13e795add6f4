import hashlib
import os
import socket
import threading

import pytest

from cnn_jax.download import (
    BLOCK,
    DownloadError,
    PublishedFile,
    download,
    is_complete,
    published_size,
    reachable_mirrors,
)

CONTENT = bytes(range(256)) * 1_000


def published(*mirrors, content=CONTENT, name="data.gz"):
    return PublishedFile(name, len(content), hashlib.sha256(content).hexdigest(), mirrors)


def closed_address():
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return f"http://127.0.0.1:{one.getsockname()[1]}/"


def test_download(web_server, tmp_path):
    web_server.files["data.gz"] = CONTENT
    one = published(web_server.address)
    path = download(one, tmp_path / "new")
    assert path.read_bytes() == CONTENT
    assert [file.name for file in path.parent.iterdir()] == ["data.gz"]
    assert is_complete(one, tmp_path / "new")
    requests = len(web_server.log)
    assert download(one, tmp_path / "new") == path  # what is there is not downloaded again
    assert len(web_server.log) == requests


def test_another_file_of_that_name_is_set_aside(web_server, tmp_path):
    web_server.files["data.gz"] = CONTENT
    (tmp_path / "data.gz").write_bytes(b"a user's own")
    assert download(published(web_server.address), tmp_path).read_bytes() == CONTENT
    assert (tmp_path / "data.gz.damaged").read_bytes() == b"a user's own"


def test_it_continues_where_it_was_broken_off(web_server, tmp_path):
    web_server.files["data.gz"] = CONTENT
    (tmp_path / "data.gz.part").write_bytes(CONTENT[:100_000])
    assert download(published(web_server.address), tmp_path).read_bytes() == CONTENT
    assert web_server.log == [("GET", "data.gz", "bytes=100000-")]


def test_a_server_without_ranges_starts_anew(web_server, tmp_path):
    web_server.files["data.gz"], web_server.ranges = CONTENT, False
    (tmp_path / "data.gz.part").write_bytes(b"x" * 100)
    assert download(published(web_server.address), tmp_path).read_bytes() == CONTENT


def test_a_flaky_server_is_asked_again_while_it_brings_more(web_server, tmp_path):
    web_server.files["data.gz"], web_server.stop_after = CONTENT, 6 * BLOCK
    assert download(published(web_server.address), tmp_path).read_bytes() == CONTENT
    assert [wanted for _, _, wanted in web_server.log] == [
        None,
        f"bytes={6 * BLOCK}-",
        f"bytes={12 * BLOCK}-",
    ]


def test_a_truncated_download_is_kept(web_server, tmp_path):
    web_server.files["data.gz"], web_server.stop_after = CONTENT, 2 * BLOCK
    web_server.ranges = False
    with pytest.raises(DownloadError) as error:
        download(published(web_server.address), tmp_path)
    message = str(error.value)
    assert "broken off at 32,768 of 256,000 bytes: the connection ended" in message
    assert "data.gz.part (32,768 of 256,000 bytes): the same command continues" in message
    assert (tmp_path / "data.gz.part").read_bytes() == CONTENT[:32_768]
    assert not (tmp_path / "data.gz").exists()
    web_server.stop_after, web_server.ranges = None, True
    assert download(published(web_server.address), tmp_path).read_bytes() == CONTENT


def test_a_shorter_file_is_not_the_published_one(web_server, tmp_path):
    web_server.files["data.gz"] = CONTENT[:-1]
    with pytest.raises(DownloadError, match=r"ended at 255,999 of 256,000|answers 416|255,999"):
        download(published(web_server.address), tmp_path)
    assert not (tmp_path / "data.gz").exists()


@pytest.mark.parametrize("other", [b"y" * len(CONTENT), CONTENT + b"more"])
def test_an_altered_file_is_deleted(web_server, tmp_path, other):
    web_server.files["data.gz"] = other
    with pytest.raises(DownloadError, match="not the published file, and deleted: its sha256 is"):
        download(published(web_server.address), tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_the_next_mirror_helps(web_server, tmp_path):
    web_server.files["data.gz"] = CONTENT
    one = published(closed_address(), web_server.address + "missing/", web_server.address)
    assert download(one, tmp_path).read_bytes() == CONTENT


def test_all_mirrors_are_named(web_server, tmp_path):
    dead = closed_address()
    with pytest.raises(DownloadError) as error:
        download(published(dead, web_server.address), tmp_path)
    message = str(error.value)
    assert f"{dead}: broken off at 0 of 256,000 bytes: " in message and "refused" in message
    assert f"{web_server.address}: the server answers 404" in message
    assert list(tmp_path.iterdir()) == []


def test_unwritable_folder(web_server, tmp_path):
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(DownloadError, match=r"cannot write to .*file/folder: Not a directory"):
        download(published(web_server.address), tmp_path / "file" / "folder")


def test_only_mirrors_with_the_right_file_are_within_reach(web_server):
    web_server.files |= {"data.gz": CONTENT, "other/data.gz": CONTENT + b"more"}
    one = published(closed_address(), web_server.address + "other/", web_server.address)
    assert reachable_mirrors(one) == (web_server.address,)
    assert reachable_mirrors(published(closed_address(), web_server.address + "none/")) == ()


def hanging_look_up(end):
    def hang(*arguments, **options):
        end.wait(60)
        raise OSError

    return hang


def test_a_hanging_name_look_up_does_not_hang_us(monkeypatch):
    end = threading.Event()
    monkeypatch.setattr("socket.getaddrinfo", hanging_look_up(end))
    assert reachable_mirrors(published("https://nowhere.invalid/"), seconds=0.1) == ()
    assert not end.is_set()  # it did not wait for the look-up
    end.set()


def test_the_first_digits_of_a_sha256_are_enough(web_server, tmp_path):
    web_server.files["data.gz"] = CONTENT
    digits = hashlib.sha256(CONTENT).hexdigest()[:8]
    one = PublishedFile("data.gz", len(CONTENT), digits, (web_server.address,))
    assert download(one, tmp_path).read_bytes() == CONTENT
    assert is_complete(one, tmp_path)
    web_server.files["data.gz"] = b"y" * len(CONTENT)
    with pytest.raises(DownloadError, match="not the published file, and deleted"):
        download(one, tmp_path / "other")


def test_the_size_that_a_server_gives(web_server, monkeypatch):
    web_server.files["data.gz"] = CONTENT
    assert published_size(web_server.address + "data.gz") == len(CONTENT)
    with pytest.raises(DownloadError, match="none is out of reach: the server answers 404 Not F"):
        published_size(web_server.address + "none")
    with pytest.raises(DownloadError, match="refused"):
        published_size(closed_address())
    end = threading.Event()
    monkeypatch.setattr("socket.getaddrinfo", hanging_look_up(end))
    with pytest.raises(DownloadError, match="nowhere.invalid/x is out of reach: time-out"):
        published_size("https://nowhere.invalid/x", seconds=0.1)
    end.set()


def test_a_server_that_sends_a_byte_now_and_then_is_given_up(web_server, tmp_path, monkeypatch):
    monkeypatch.setattr("cnn_jax.download.BLOCK_SECONDS", 0.5)
    web_server.files["data.gz"], web_server.drip = CONTENT, 0.05
    with pytest.raises(DownloadError, match="slower than 16,384 bytes in 0.5 seconds"):
        download(published(web_server.address), tmp_path)
    assert len([one for one in web_server.log if one[0] == "GET"]) == 1


@pytest.mark.parametrize("kind", ["pipe", "device"])
def test_a_part_that_is_no_file_is_named(web_server, tmp_path, kind):
    web_server.files["data.gz"] = CONTENT
    part = tmp_path / "data.gz.part"
    os.mkfifo(part) if kind == "pipe" else part.symlink_to("/dev/zero")
    with pytest.raises(DownloadError, match="data.gz.part is not a regular file: remove it"):
        download(published(web_server.address), tmp_path)
