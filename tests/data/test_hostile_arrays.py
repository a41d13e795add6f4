""".npz files that are broken or lie end in one message, soon and in little memory."""

import contextlib
import os
import random
import struct
import zipfile

import numpy as np
import pytest

from cnn_jax.data import DataConfig, load_dataset
from cnn_jax.data.errors import DataError
from tests.limits import run_limited, within

IMAGES = np.zeros((6, 4, 4, 3), np.uint8)
LABELS = np.arange(6) % 3
ARRAYS = {
    "label of 10**8": {"train_labels": LABELS + 10**8},
    "label of 2**40": {"train_labels": LABELS + 2**40},
    "label of 2**63": {"train_labels": LABELS.astype(np.uint64) + np.uint64(2**63)},
    "label of -2**40": {"train_labels": LABELS - 2**40},
    "2 million names": {"class_names": np.zeros(2_000_000, "U1")},
    "one name": {"class_names": np.array("cat")},
    "names in two axes": {"class_names": np.zeros((3, 3), "U1")},
    "images without height": {"train_images": IMAGES[:, :0]},
    "images without channels": {"train_images": IMAGES[..., :0]},
    "no examples": {"train_images": IMAGES[:0], "train_labels": LABELS[:0]},
    "pickled images": {"train_images": IMAGES.astype(object)},
    "one number": {"train_images": np.array(3, np.uint8)},
    "fewer labels": {"train_labels": LABELS[:3]},
    "text": {"train_name": np.array(["x"] * 6)},
    "boxes of NaN": {"train_boxes": np.full((6, 2, 4), np.nan)},
}
HEADERS = {
    "10**12 images": "{'descr': '|u1', 'fortran_order': False, 'shape': (1000000000000, 4, 4, 3)}",
    "10**30 images": f"{{'descr': '|u1', 'fortran_order': False, 'shape': ({10**30}, 4, 4, 3)}}",
    "-1 images": "{'descr': '|u1', 'fortran_order': False, 'shape': (-1, 4, 4, 3)}",
    "elements of no size": "{'descr': '|V0', 'fortran_order': False, 'shape': (1000000000000,)}",
    "code": "__import__('os').system('false')",
    "brackets": "(" * 5_000,
    "a long header": " " * 60_000,
}


def check(path):
    with pytest.raises(DataError) as error, within(20):
        load_dataset(DataConfig(name=str(path)), default="digits")
    assert len(str(error.value).splitlines()) == 1


@pytest.mark.parametrize("wrong", ARRAYS)
def test_arrays_that_cannot_be_used(tmp_path, wrong):
    arrays = {"train_images": IMAGES, "train_labels": LABELS} | ARRAYS[wrong]
    np.savez_compressed(tmp_path / "data.npz", **arrays)
    check(tmp_path / "data.npz")


@pytest.mark.parametrize("wrong", HEADERS)
def test_headers_that_lie(tmp_path, wrong):
    header = HEADERS[wrong].encode() + b"\n"
    with zipfile.ZipFile(tmp_path / "data.npz", "w") as file:
        content = b"\x93NUMPY\x01\x00" + struct.pack("<H", len(header)) + header
        file.writestr("train_images.npy", content)
    check(tmp_path / "data.npz")


@pytest.mark.parametrize("kind", ["pipe", "device", "folder", "empty", "half"])
def test_what_is_no_whole_file(tmp_path, kind):
    np.savez(tmp_path / "whole.npz", train_images=IMAGES, train_labels=LABELS)
    whole, path = (tmp_path / "whole.npz").read_bytes(), tmp_path / "data.npz"
    {
        "pipe": lambda: os.mkfifo(path),
        "device": lambda: path.symlink_to("/dev/zero"),
        "folder": path.mkdir,
        "empty": path.touch,
        "half": lambda: path.write_bytes(whole[: len(whole) // 2]),
    }[kind]()
    check(path)


def test_changed_bytes_are_told_or_harmless(tmp_path):
    np.savez_compressed(tmp_path / "whole.npz", train_images=IMAGES, train_labels=LABELS)
    whole, path, choose = (
        (tmp_path / "whole.npz").read_bytes(),
        tmp_path / "data.npz",
        random.Random(0),
    )
    for _ in range(100):
        content = bytearray(whole)
        for _ in range(choose.choice([1, 5, 20])):
            content[choose.randrange(len(content))] = choose.randrange(256)
        path.write_bytes(bytes(content))
        with contextlib.suppress(DataError):
            load_dataset(DataConfig(name=str(path)), default="digits")


def test_an_archive_that_grows_is_told_in_little_memory(tmp_path):
    path = tmp_path / "data.npz"
    with (
        zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as file,
        file.open("train_images.npy", "w", force_zip64=True) as array,
    ):
        header = {"descr": "|u1", "fortran_order": False, "shape": (1000, 1000, 1000, 3)}
        np.lib.format.write_array_header_1_0(array, header)
        for _ in range(300):
            array.write(bytes(10**7))
    assert path.stat().st_size < 4e6
    code = """
import sys
from cnn_jax.data.array_file import open_array_file
from cnn_jax.data.errors import DataError
try:
    open_array_file(sys.argv[1])
except DataError as error:
    print(error)
"""
    printed = run_limited(code, str(path), gigabytes=3)
    assert "cannot be read as a file of numpy.savez: Unable to allocate" in printed
