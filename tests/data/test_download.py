import hashlib
import socket
import threading

import pytest

from cnn_jax.data import DataError
from cnn_jax.data.download import BLOCK, Archive, download, is_complete, reachable_mirrors

CONTENT = bytes(range(256)) * 1_000


def archive(*mirrors, content=CONTENT, name="data.gz"):
    return Archive(name, len(content), hashlib.sha256(content).hexdigest(), mirrors)


def closed_address():
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return f"http://127.0.0.1:{one.getsockname()[1]}/"


def test_download(web_server, tmp_path):
    web_server.files["data.gz"] = CONTENT
    one = archive(web_server.address)
    path = download(one, tmp_path / "new")
    assert path.read_bytes() == CONTENT
    assert [file.name for file in path.parent.iterdir()] == ["data.gz"]
    assert is_complete(one, tmp_path / "new")
    requests = len(web_server.log)
    assert download(one, tmp_path / "new") == path  # what is there is not downloaded again
    assert len(web_server.log) == requests


def test_it_continues_where_it_was_broken_off(web_server, tmp_path):
    web_server.files["data.gz"] = CONTENT
    (tmp_path / "data.gz.part").write_bytes(CONTENT[:100_000])
    assert download(archive(web_server.address), tmp_path).read_bytes() == CONTENT
    assert web_server.log == [("GET", "data.gz", "bytes=100000-")]


def test_a_server_without_ranges_starts_anew(web_server, tmp_path):
    web_server.files["data.gz"], web_server.ranges = CONTENT, False
    (tmp_path / "data.gz.part").write_bytes(b"x" * 100)
    assert download(archive(web_server.address), tmp_path).read_bytes() == CONTENT


def test_a_flaky_server_is_asked_again_while_it_brings_more(web_server, tmp_path):
    web_server.files["data.gz"], web_server.stop_after = CONTENT, 6 * BLOCK
    assert download(archive(web_server.address), tmp_path).read_bytes() == CONTENT
    assert [wanted for _, _, wanted in web_server.log] == [
        None,
        f"bytes={6 * BLOCK}-",
        f"bytes={12 * BLOCK}-",
    ]


def test_a_truncated_download_is_kept(web_server, tmp_path):
    web_server.files["data.gz"], web_server.stop_after = CONTENT, 2 * BLOCK
    web_server.ranges = False
    with pytest.raises(DataError) as error:
        download(archive(web_server.address), tmp_path)
    message = str(error.value)
    assert "broken off at 32,768 of 256,000 bytes: the connection ended" in message
    assert "data.gz.part (32,768 of 256,000 bytes): the same command continues" in message
    assert (tmp_path / "data.gz.part").read_bytes() == CONTENT[:32_768]
    assert not (tmp_path / "data.gz").exists()
    web_server.stop_after, web_server.ranges = None, True
    assert download(archive(web_server.address), tmp_path).read_bytes() == CONTENT


def test_a_shorter_file_is_not_the_published_one(web_server, tmp_path):
    web_server.files["data.gz"] = CONTENT[:-1]
    with pytest.raises(DataError, match=r"ended at 255,999 of 256,000|answers 416|255,999"):
        download(archive(web_server.address), tmp_path)
    assert not (tmp_path / "data.gz").exists()


@pytest.mark.parametrize("other", [b"y" * len(CONTENT), CONTENT + b"more"])
def test_an_altered_file_is_deleted(web_server, tmp_path, other):
    web_server.files["data.gz"] = other
    with pytest.raises(DataError, match="not the published file, and deleted: its sha256 is"):
        download(archive(web_server.address), tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_the_next_mirror_helps(web_server, tmp_path):
    web_server.files["data.gz"] = CONTENT
    one = archive(closed_address(), web_server.address + "missing/", web_server.address)
    assert download(one, tmp_path).read_bytes() == CONTENT


def test_all_mirrors_are_named(web_server, tmp_path):
    dead = closed_address()
    with pytest.raises(DataError) as error:
        download(archive(dead, web_server.address), tmp_path)
    message = str(error.value)
    assert f"{dead}: broken off at 0 of 256,000 bytes: " in message and "refused" in message
    assert f"{web_server.address}: the server answers 404" in message
    assert list(tmp_path.iterdir()) == []


def test_unwritable_folder(web_server, tmp_path):
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(DataError, match=r"cannot write to .*file/folder: Not a directory"):
        download(archive(web_server.address), tmp_path / "file" / "folder")


def test_only_mirrors_with_the_right_file_are_within_reach(web_server):
    web_server.files |= {"data.gz": CONTENT, "other/data.gz": CONTENT + b"more"}
    one = archive(closed_address(), web_server.address + "other/", web_server.address)
    assert reachable_mirrors(one) == (web_server.address,)
    assert reachable_mirrors(archive(closed_address(), web_server.address + "none/")) == ()


def test_a_hanging_name_look_up_does_not_hang_us(monkeypatch):
    end = threading.Event()

    def hang(*arguments, **options):
        end.wait(60)
        raise OSError

    monkeypatch.setattr("socket.getaddrinfo", hang)
    assert reachable_mirrors(archive("https://nowhere.invalid/"), seconds=0.1) == ()
    assert not end.is_set()  # it did not wait for the look-up
    end.set()
