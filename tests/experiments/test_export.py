import json
import subprocess
import sys

import jax
import numpy as np
import pytest

from cnn_jax.models import create_model
from cnn_jax.pretrained import Network, Preprocessing, to_torch
from experiments.tools import export


@pytest.fixture
def checkpoint(tmp_path):
    """A state dict of a small network, as a file."""
    safetensors = pytest.importorskip("safetensors.numpy")
    model = create_model("cifar_resnet20", num_classes=3)
    images = jax.ShapeDtypeStruct((1, 32, 32, 3), np.float32)
    random = np.random.default_rng(0)
    variables = jax.tree.map(
        # Positive, for the variances among them.
        lambda leaf: random.uniform(0.01, 0.1, leaf.shape).astype(leaf.dtype),
        jax.eval_shape(model.init, jax.random.key(0), images),
    )
    file = tmp_path / "mine.safetensors"
    safetensors.save_file(to_torch(model, variables), file)
    return file


def arguments(checkpoint, *more):
    network = ["--model", "cifar_resnet20", "--checkpoint", str(checkpoint)]
    return [*network, "--num-classes", "3", "--image-size", "16", *more]


def test_a_checkpoint_becomes_a_program(checkpoint, tmp_path, capsys):
    folder = tmp_path / "exported"
    export.main(arguments(checkpoint, "--output", str(folder)))
    printed = capsys.readouterr().out
    assert "cifar_resnet20, mine.safetensors: " in printed
    assert "checked in a new process with JAX alone" in printed
    about = json.loads((folder / "model.json").read_text())
    assert about["input"]["shape"] == [None, 16, 16, 3]
    assert about["classes"] == ["class 0", "class 1", "class 2"]
    assert about["preprocessing"]["crop"] == 16 and about["preprocessing"]["resize"] == 16
    assert about["platforms"] == ["cpu", "cuda", "tpu"]
    program = jax.export.deserialize(bytearray((folder / "model.stablehlo").read_bytes()))
    assert program.call(np.zeros((5, 16, 16, 3), np.float32)).shape == (5, 3)


def test_a_run_becomes_a_program(tmp_path, monkeypatch):
    model = create_model("simple_cnn", num_classes=2)
    variables = jax.jit(model.init)(jax.random.key(0), np.zeros((1, 8, 6, 1), np.float32))
    preprocessing = Preprocessing(0, (8, 6), (0.5,), (0.25,))
    network = Network(model, variables, preprocessing, ("a", "b"), "a run")
    monkeypatch.setattr(export, "load_network", lambda config: network)
    export.main(["--output", str(tmp_path / "new"), "--platforms", "cpu"])
    about = json.loads((tmp_path / "new" / "model.json").read_text())
    assert about["input"]["shape"] == [None, 8, 6, 1] and about["classes"] == ["a", "b"]
    described = {name: about["preprocessing"][name] for name in ("resize", "crop", "mean", "std")}
    assert described == {"resize": 0, "crop": [8, 6], "mean": [0.5], "std": [0.25]}


def test_what_is_printed_can_be_run(tmp_path):
    compile(export.USE.format(folder=tmp_path, shape="16, 16, 3"), "use", "exec")


def test_other_logits_are_an_error(checkpoint, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(export, "check", lambda *arguments: float("nan"))
    with pytest.raises(SystemExit) as end:
        export.main(arguments(checkpoint, "--output", str(tmp_path / "exported")))
    assert end.value.code == 2
    printed = capsys.readouterr().out
    assert "the logits differ by nan of the largest, expected at most 1e-04" in printed


def test_a_program_that_does_not_run_is_an_error(checkpoint, tmp_path, capsys, monkeypatch):
    def fails(command, **options):
        return subprocess.CompletedProcess(command, 1, "", "out of luck")

    monkeypatch.setattr(export.subprocess, "run", fails)
    with pytest.raises(SystemExit):
        export.main(arguments(checkpoint, "--output", str(tmp_path / "exported")))
    assert "the exported program does not run:\nout of luck" in capsys.readouterr().out


def test_a_folder_that_cannot_be_written(checkpoint, tmp_path, capsys):
    (tmp_path / "file").write_text("")
    with pytest.raises(SystemExit):
        export.main(arguments(checkpoint, "--output", str(tmp_path / "file")))
    assert "cannot write to" in capsys.readouterr().out


def test_the_door_is_there():
    door = [sys.executable, "-m", "experiments.export", "--help"]
    helped = subprocess.run(door, capture_output=True, text=True, check=True, timeout=120)
    assert "--output" in helped.stdout
