import jax
import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image
from safetensors.numpy import save_file

from cnn_jax import pretrained
from cnn_jax.models import create_model
from experiments.tools import evaluate
from experiments.tools.image_files import read_images
from experiments.tools.networks import NetworkConfig, load_network


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Seven images of several sizes in two classes, and a network for two classes."""
    root = tmp_path_factory.mktemp("evaluate")
    generator = np.random.default_rng(0)
    for split, count in (("train", 1), ("val", 4)):
        for name in ("a", "b"):
            (root / "data" / split / name).mkdir(parents=True)
            for number in range(count - (split == "val" and name == "b")):
                pixels = generator.integers(0, 256, (20 + number, 33, 3), dtype=np.uint8)
                Image.fromarray(pixels).save(root / "data" / split / name / f"{number}.png")
    model = create_model("cifar_resnet20", num_classes=2)
    variables = jax.jit(model.init)(jax.random.key(0), jnp.zeros((1, 16, 16, 3)))
    save_file(pretrained.to_torch(model, variables), root / "mine.safetensors")
    return root


def words(folder, *more):
    network = ["--model", "cifar_resnet20", "--checkpoint", str(folder / "mine.safetensors")]
    data = ["--data.name", str(folder / "data"), "--data.validation", "val"]
    return [*network, "--num-classes", "2", "--image-size", "16", *data, *more]


def test_accuracy_and_loss_are_those_of_each_image_by_itself(folder):
    (row,) = evaluate.main(words(folder, "--batch-size", "4"))
    config = NetworkConfig(
        model="cifar_resnet20",
        checkpoint=str(folder / "mine.safetensors"),
        num_classes=2,
        image_size=16,
    )
    network = load_network(config)
    good, bad = read_images(sorted((folder / "data" / "val").rglob("*.png")))
    assert len(good) == 7 and not bad
    inputs = np.stack([network.preprocessing(image) for _, image in good])
    probabilities = jax.nn.softmax(jax.jit(network.model.apply)(network.variables, inputs))
    labels = np.array([path.parent.name == "b" for path, _ in good], int)
    right = np.asarray(probabilities)[np.arange(7), labels]
    assert row.examples == 7
    assert row.loss == pytest.approx(-np.log(right).mean(), rel=1e-4)
    assert row.top1 == pytest.approx(100 * np.mean(right > 0.5))
    assert row.top5 == 100
    assert row.published1 is None


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (["--num-classes", "3"], "misshapen"),
        (["--split", "test"], "--split test: there are train, validation"),
        (["--data.name", "digits", "--data.validation", ""], "holds no image files"),
        (["--models", "resnet18"], "not both"),
    ],
)
def test_what_cannot_be_is_said(folder, capsys, more, message):
    assert message in said([*words(folder), *more], capsys)


def test_models_without_weights_are_named(capsys):
    assert "no public weights for 'resnet1'" in said(["--models", "resnet1"], capsys)


def said(words, capsys):
    """What is printed by a command that ends with an error."""
    with pytest.raises(SystemExit) as exit:
        evaluate.main(words)
    assert exit.value.code == 2
    return " ".join(capsys.readouterr().out.split())
