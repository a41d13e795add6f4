"""Which network a tool's flags name, and how its images are prepared."""

import jax
import numpy as np
import pytest

from cnn_jax import pretrained
from cnn_jax.errors import ConfigError
from cnn_jax.models import create_model
from experiments.tools.networks import NetworkConfig, load_network


def saved(path, name, shape, **attributes):
    """A file of PyTorch with random weights of a model."""
    torch = pytest.importorskip("torch")
    model = create_model(name, **attributes)
    shapes = jax.eval_shape(model.init, jax.random.key(0), np.zeros((1, *shape), np.float32))
    values = jax.tree.map(lambda leaf: np.ones(leaf.shape, np.float32), dict(shapes))
    state = pretrained.to_torch(model, values)
    torch.save({"state_dict": {k: torch.tensor(v) for k, v in state.items()}}, path)
    return str(path)


def test_a_network_for_small_images_sees_the_whole_image(tmp_path):
    file = saved(tmp_path / "mine.th", "cifar_resnet20", (32, 32, 3))
    network = load_network(NetworkConfig("cifar_resnet20", checkpoint=file))
    assert (network.preprocessing.resize, network.preprocessing.crop) == (32, 32)
    assert network.class_names == tuple(f"class {i}" for i in range(10))
    other = NetworkConfig("cifar_resnet20", checkpoint=file, image_size=40, resize=44)
    preprocessing = load_network(other).preprocessing
    assert (preprocessing.resize, preprocessing.crop) == (44, 40)
    with pytest.raises(ConfigError, match="--resize must be at least the image size of 32, got 20"):
        load_network(NetworkConfig("cifar_resnet20", checkpoint=file, resize=20))


def test_a_network_for_imagenet_sees_the_centre(tmp_path):
    file = saved(tmp_path / "mine.ckpt", "resnet18", (224, 224, 3))
    network = load_network(NetworkConfig("resnet18", checkpoint=file))
    assert (network.preprocessing.resize, network.preprocessing.crop) == (256, 224)
    assert network.model.num_classes == 1000


def test_gray_weights_have_one_mean(tmp_path):
    file = saved(tmp_path / "mine.pt", "lenet5", (28, 28, 1))
    gray = NetworkConfig("lenet5", checkpoint=file, mean=(0.13,), std=(0.31,))
    assert load_network(gray).preprocessing.image_shape == (28, 28, 1)
    with pytest.raises(
        ConfigError, match=r"(?s)3 channels \(--mean\).*conv1.weight is \(6, 1, 5, 5\)"
    ):
        load_network(NetworkConfig("lenet5", checkpoint=file))
    with pytest.raises(ConfigError, match="one number per channel"):
        load_network(NetworkConfig("lenet5", checkpoint=file, mean=(0.13,)))
