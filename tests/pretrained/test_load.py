import dataclasses

import jax
import numpy as np
import pytest
from flax.traverse_util import flatten_dict

from cnn_jax.errors import ConfigError
from cnn_jax.models import create_model
from cnn_jax.pretrained import BySides, Preprocessing, Weights, catalog, load, to_torch

load_module = __import__("cnn_jax.pretrained.load", fromlist=["load"])


@pytest.fixture(scope="module")
def published():
    """A model with ImageNet's number of classes, and its state dict in PyTorch's names."""
    model = create_model("cifar_resnet20", num_classes=1000)
    random = np.random.default_rng(0)
    images = jax.ShapeDtypeStruct((1, 32, 32, 3), np.float32)
    variables = jax.tree.map(
        # Positive, for the variances among them.
        lambda leaf: random.uniform(0.01, 0.1, leaf.shape).astype(leaf.dtype),
        jax.eval_shape(model.init, jax.random.key(0), images),
    )
    return model, variables, to_torch(model, variables)


@pytest.fixture
def offered(published, tmp_path, monkeypatch):
    """The model's weights are in the catalog, and on this machine."""
    safetensors = pytest.importorskip("safetensors.numpy")
    file = tmp_path / "model.safetensors"
    safetensors.save_file(published[2], file)
    entry = Weights("cifar_resnet20", "IMAGENET1K_V1", "resnet-01234567.pth", 70.0, 90.0, 1)
    monkeypatch.setattr(catalog, "WEIGHTS", [entry])
    asked = []

    def weights_file(weights, directory):
        asked.append((weights, directory))
        return file

    monkeypatch.setattr(load_module, "weights_file", weights_file)
    return asked


def test_a_model_ready_to_use(published, offered, tmp_path):
    model, variables, _ = published
    loaded = load("cifar_resnet20", directory=tmp_path)
    assert offered == [(catalog.find_weights("cifar_resnet20"), tmp_path)]
    assert loaded.model == model
    jax.tree.map(np.testing.assert_array_equal, loaded.variables, dict(variables))
    assert loaded.preprocessing == Preprocessing(256, 224)
    assert len(loaded.class_names) == 1000 and loaded.class_names[0] == "tench"
    assert loaded.reinitialized == ()
    small = dataclasses.replace(loaded.preprocessing, resize=36, crop=32)
    image = np.random.default_rng(0).integers(0, 256, (50, 40, 3)).astype(np.uint8)
    logits = jax.jit(loaded.model.apply)(loaded.variables, small(image)[None])
    assert logits.shape == (1, 1000)


def test_another_number_of_classes_and_other_attributes(published, offered):
    _, variables, _ = published
    loaded = load("cifar_resnet20", num_classes=3, norm="frozen", key=jax.random.key(1))
    assert loaded.model == create_model("cifar_resnet20", num_classes=3, norm="frozen")
    assert sorted(loaded.reinitialized) == ["params/head/bias", "params/head/kernel"]
    assert loaded.class_names == ()
    before, after = flatten_dict(variables, sep="/"), flatten_dict(loaded.variables, sep="/")
    for path, value in after.items():
        if path not in loaded.reinitialized:
            np.testing.assert_array_equal(value, before[path])
    assert after["params/head/kernel"].shape == (64, 3)


def test_the_weights_own_number_of_classes_keeps_all(offered):
    loaded = load("cifar_resnet20", num_classes=1000)
    assert loaded.reinitialized == () and len(loaded.class_names) == 1000


def test_what_is_wrong_is_said_before_anything_is_downloaded(offered):
    with pytest.raises(ConfigError, match="unknown weights 'V9' for 'cifar_resnet20'"):
        load("cifar_resnet20", "V9")
    with pytest.raises(ConfigError, match="unknown attribute 'depth'"):
        load("cifar_resnet20", depth=3)
    assert offered == []


def test_a_repository_of_the_hub(published, offered, tmp_path, monkeypatch):
    preprocessing = Preprocessing(300, 288, interpolation="bicubic")
    monkeypatch.setattr(
        load_module, "hub_file", lambda repository, filename, folder: tmp_path / filename
    )
    monkeypatch.setattr(
        load_module, "hub_configuration", lambda repository, folder: (preprocessing, 1000)
    )
    loaded = load("cifar_resnet20", "timm/resnet20.a1_in1k")
    assert loaded.preprocessing == preprocessing and loaded.class_names[0] == "tench"


@pytest.fixture
def taken(monkeypatch):
    """What would be converted: models, files and the shapes of images."""
    calls = []

    def from_torch(model, file, image_shape):
        calls.append((model, file.file, image_shape))
        return {"params": {}}

    monkeypatch.setattr(load_module, "weights_file", lambda weights, directory: weights)
    monkeypatch.setattr(load_module, "from_torch", from_torch)
    return calls


def test_a_detector(taken, tmp_path):
    """Images keep their sizes, but for zeros beside them; their values are Caffe's."""
    loaded = load("ssd300_vgg16", directory=tmp_path)
    assert loaded.model == create_model("ssd300_vgg16") and loaded.model.num_classes == 91
    assert taken == [(loaded.model, "ssd300_vgg16_coco-b556d3b4.pth", (32, 32, 3))]
    assert len(loaded.class_names) == 91 and loaded.class_names[90] == "toothbrush"
    pixels, size = loaded.preprocessing.place(np.full((5, 7, 3), 200, np.uint8))
    assert pixels.shape == (32, 32, 3) and size == (5, 7) and not pixels[5:].any()
    np.testing.assert_allclose(pixels[0, 0], [77, 83, 96], atol=0.01)


def test_an_older_detector_has_torchvisions_frozen_norm(taken, tmp_path):
    loaded = load("maskrcnn_resnet50_fpn", directory=tmp_path)
    assert (loaded.model.norm, loaded.model.norm_eps, loaded.model.num_classes) == ("frozen", 0, 91)
    assert taken == [(loaded.model, "maskrcnn_resnet50_fpn_coco-bf2d0c1e.pth", (800, 800, 3))]
    assert loaded.preprocessing == BySides()
    newer = load("maskrcnn_resnet50_fpn_v2", directory=tmp_path)
    assert (newer.model.norm, newer.model.norm_eps) == ("batch", None)


def test_a_network_for_segmentation(taken, tmp_path):
    """Its auxiliary head is in the file, and only loaded if it is asked for."""
    loaded = load("fcn_resnet50", aux_logits=True, norm="frozen", directory=tmp_path)
    assert loaded.model == create_model("fcn_resnet50", aux_logits=True, norm="frozen")
    assert taken == [(loaded.model, "fcn_resnet50_coco-1167a1af.pth", (520, 520, 3))]
    assert loaded.preprocessing == Preprocessing(520, 0)
    assert len(loaded.class_names) == 21 and loaded.class_names[15] == "person"


def test_the_network_of_fid(taken, tmp_path):
    """Its 1,008 outputs are no classes that are known by name."""
    loaded = load("fid_inception_v3", directory=tmp_path)
    assert loaded.model == create_model("fid_inception_v3") and loaded.model.num_classes == 1008
    file = "pt_inception-2015-12-05-6726825d.pth"
    assert taken == [(loaded.model, file, (299, 299, 3))]
    assert loaded.class_names == () and loaded.reinitialized == ()


@pytest.mark.parametrize("name", ["googlenet", "inception_v3"])
def test_the_inceptions_take_images_in_their_own_scale(name, monkeypatch):
    class Stop(Exception):
        pass

    def stop(weights, directory):
        raise Stop

    attributes = {}
    monkeypatch.setattr(load_module, "weights_file", stop)
    monkeypatch.setattr(load_module, "create_model", lambda name, **given: attributes.update(given))
    with pytest.raises(Stop):
        load(name)
    assert attributes == {"transform_input": True}
    with pytest.raises(Stop):
        load(name, transform_input=False)
    assert attributes == {"transform_input": False}
