import subprocess
import sys

import pytest

import experiments
from cnn_jax.models import example_shape, list_models, registry
from experiments.tools.summary import main


def test_a_model_is_printed_with_its_sums(capsys):
    main(["cifar_resnet20"])
    printed = capsys.readouterr().out
    assert "cifar_resnet20, images of 32 x 32 x 3" in printed
    lines = printed.splitlines()
    (conv,) = [line for line in lines if " stem_conv " in line]
    assert [cell.strip() for cell in conv.split("│")[1:-1]] == [
        "stem_conv",
        "Conv",
        "32 x 32 x 16",
        "432",
        "442,368",
    ]
    (total,) = [line for line in lines if "total" in line]
    assert "269,722" in total and "40,551,040" in total
    assert printed.endswith("269,722 parameters (1.0 MiB as float32), 0.041 G MACs an image\n")


def test_flags_change_the_image_and_the_classes(capsys):
    words = ["cifar_resnet20", "--image-size", "16", "--channels", "1", "--num-classes", "3"]
    main([*words, "--depth", "1"])
    printed = capsys.readouterr().out
    assert "images of 16 x 16 x 1" in printed and "stem_conv" not in printed
    (head,) = [line for line in printed.splitlines() if " head " in line]
    assert "195" in head and "192" in head


def test_without_a_name_all_are_listed(capsys):
    main([])
    assert sorted(capsys.readouterr().out.split()) == sorted(list_models())


@pytest.mark.parametrize(
    ("name", "shape"),
    [
        ("cifar_vgg16", (32, 32, 3)),
        ("conv_autoencoder", (28, 28, 1)),
        ("lenet5", (28, 28, 1)),
        ("inception_v3", (299, 299, 3)),
        ("vgg16", (224, 224, 3)),
    ],
)
def test_images_are_those_that_a_model_is_made_for(name, shape):
    assert example_shape(name) == shape


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["resnet51"], "unknown model 'resnet51'; did you mean resnet50, "),
        (["resnet18", "--depth", "0"], "depth must be at least 1, got 0"),
        (["vgg11", "--image-size", "8"], "at least 32x32"),
        (["autoencoder", "--num-classes", "3"], "unknown attribute 'num_classes'"),
    ],
)
def test_what_is_wrong_ends_with_its_message(words, message, capsys):
    with pytest.raises(SystemExit) as stop:
        main(words)
    assert stop.value.code == 2
    printed = capsys.readouterr().out
    assert printed.startswith("error: ") and message in printed


def test_a_model_that_an_experiment_registers_is_known(tmp_path, monkeypatch, capsys):
    (tmp_path / "own_model.py").write_text(
        "from cnn_jax.models import MLP\n"
        "from cnn_jax.models.registry import register\n"
        "register('own_mlp', MLP, (2, 2, 1), hidden=(3,))\n"
    )
    (tmp_path / "fails.py").write_text("raise AssertionError('registers nothing')")
    monkeypatch.setattr(experiments, "__path__", [str(tmp_path)])
    monkeypatch.setattr(registry, "_ENTRIES", dict(registry._ENTRIES))
    main(["own_mlp"])
    assert "own_mlp, images of 2 x 2 x 1" in capsys.readouterr().out


def test_without_classes_the_last_layer_is_left_out(capsys):
    main(["lenet5", "--num-classes", "0"])
    printed = capsys.readouterr().out
    assert "fc2" in printed and "fc3" not in printed


def test_the_door_is_there():
    door = [sys.executable, "-m", "experiments.summary", "--help"]
    helped = subprocess.run(door, capture_output=True, text=True, check=True, timeout=120)
    assert "--num-classes" in helped.stdout
