import re

import numpy as np
import pytest

from cnn_jax.errors import ConfigError
from cnn_jax.models import list_models
from cnn_jax.pretrained import (
    BySides,
    Preprocessing,
    find_weights,
    imagenet_classes,
    list_weights,
)
from cnn_jax.pretrained.catalog import TORCHVISION


def of_torchvision():
    return [one for one in list_weights() if one.server == TORCHVISION]


def test_every_entry_is_of_a_model_and_checkable():
    there = of_torchvision()
    assert len({(one.model, one.name) for one in there}) == len(there)
    for one in there:
        assert one.model in list_models()
        assert re.fullmatch("[0-9a-f]{8}", one.sha256)
        if one.box_ap:
            assert 20 < one.box_ap < 60 and one.top1 is one.top5 is one.mean_iou is one.hub is None
        else:
            assert 50 < (one.mean_iou or 50.1) < one.top1 < (one.top5 or 100) <= 100
        assert one.url == f"https://download.pytorch.org/models/{one.file}"


def test_the_network_of_fid_is_published_elsewhere():
    (one,) = set(list_weights()) - set(of_torchvision())
    assert one == find_weights("fid_inception_v3") and one.hub is one.top1 is one.top5 is None
    # As pytorch-fid 0.3 has it in its inception.py.
    assert one.url == (
        "https://github.com/mseitzer/pytorch-fid/releases/download/fid_weights/"
        "pt_inception-2015-12-05-6726825d.pth"
    )
    assert one.sha256 == "6726825d" and one.num_classes == 1008 and one.class_names == ()
    middle = np.full((299, 299, 3), 128, np.uint8)
    np.testing.assert_allclose(one.preprocessing(middle), 0, atol=1e-6)
    np.testing.assert_allclose(one.preprocessing(middle - 128), -1, rtol=1e-6)


def test_the_best_is_the_default():
    assert find_weights("resnet50").file == "resnet50-11ad3fa6.pth"
    assert find_weights("resnet50") == find_weights("resnet50", "IMAGENET1K_V2")
    assert find_weights("resnet18").name == "IMAGENET1K_V1"


def test_models_by_pattern():
    names = [(one.model, one.name) for one in list_weights("resnet1*")]
    assert names == [
        ("resnet18", "IMAGENET1K_V1"),
        ("resnet101", "IMAGENET1K_V1"),
        ("resnet101", "IMAGENET1K_V2"),
        ("resnet152", "IMAGENET1K_V1"),
        ("resnet152", "IMAGENET1K_V2"),
    ]


def test_the_preprocessing_goes_with_the_weights():
    assert find_weights("resnet50", "IMAGENET1K_V1").preprocessing == Preprocessing(256, 224)
    assert find_weights("resnet50", "IMAGENET1K_V2").preprocessing == Preprocessing(232, 224)
    assert find_weights("inception_v3").preprocessing == Preprocessing(342, 299)


def test_the_attributes_go_with_the_weights():
    """torchvision freezes BatchNorm and sets its eps to 0 with the older weights of detectors."""
    frozen = {"norm": "frozen", "norm_eps": 0.0}
    for name in ("retinanet", "fasterrcnn", "maskrcnn"):
        assert find_weights(f"{name}_resnet50_fpn").attributes == frozen
        assert find_weights(f"{name}_resnet50_fpn_v2").attributes == {}
    assert find_weights("googlenet").attributes == {"transform_input": True}
    assert find_weights("resnet50").attributes == find_weights("ssd300_vgg16").attributes == {}


def test_the_same_numbers_on_the_hub():
    assert find_weights("vgg16_bn").hub == "timm/vgg16_bn.tv_in1k"
    assert find_weights("wide_resnet50_2").hub == "timm/wide_resnet50_2.tv2_in1k"
    assert find_weights("googlenet").hub is None


def test_unknown_weights():
    with pytest.raises(ConfigError, match="no public weights for 'resnet51'; for resnet50, "):
        find_weights("resnet51")
    with pytest.raises(ConfigError) as error:
        find_weights("resnet50", "V2")
    assert "there are DEFAULT, IMAGENET1K_V1, IMAGENET1K_V2, and any" in str(error.value)


def test_class_names():
    names = imagenet_classes()
    assert len(set(names)) == 1000 and all(names)
    assert [names[label] for label in (0, 134, 517, 999)] == [
        "tench",
        "crane bird",
        "crane",
        "toilet tissue",
    ]


def test_the_table_is_torchvisions():
    pytest.importorskip("torch", reason="torch is not installed")
    from tests.references.torchvision_models import import_torchvision

    try:
        torchvision = import_torchvision()
    except ImportError as error:
        pytest.skip(f"torchvision cannot be imported (set CNN_JAX_TORCHVISION_CPU?): {error}")
    for one in of_torchvision():
        if one.box_ap:
            check_detector(torchvision, one)
            continue
        theirs = torchvision.models.get_model_weights(one.model)
        entry = theirs[one.name]
        assert one.url == entry.url and one.parameters == entry.meta["num_params"]
        transforms, mine = entry.transforms(), one.preprocessing
        if one.mean_iou:
            metrics = entry.meta["_metrics"]["COCO-val2017-VOC-labels"]
            assert (one.top1, one.mean_iou) == (metrics["pixel_acc"], metrics["miou"])
            assert ([mine.resize], mine.crop) == (transforms.resize_size, 0)
        else:
            metrics = entry.meta["_metrics"]["ImageNet-1K"]
            assert (one.top1, one.top5) == (metrics["acc@1"], metrics["acc@5"])
            assert ([mine.resize], [mine.crop]) == (transforms.resize_size, transforms.crop_size)
        assert (list(mine.mean), list(mine.std)) == (transforms.mean, transforms.std)
        assert mine.interpolation == transforms.interpolation.value
        assert list(one.class_names) == entry.meta["categories"]
        assert (find_weights(one.model) == one) == (entry == theirs.DEFAULT)


def check_detector(torchvision, one):
    import torch

    theirs = torchvision.models.get_model_weights(one.model)
    entry = theirs[one.name]
    assert one.url == entry.url and one.parameters == entry.meta["num_params"]
    metrics = entry.meta["_metrics"]["COCO-val2017"]
    assert (one.box_ap, one.mask_ap) == (metrics["box_map"], metrics.get("mask_map"))
    assert list(one.class_names) == entry.meta["categories"]
    assert (find_weights(one.model) == one) == (entry == theirs.DEFAULT)
    with torch.device("meta"):
        model = getattr(torchvision.models.detection, one.model)(
            weights=None, weights_backbone=None
        )
    mine = one.preprocessing
    transform = model.transform
    assert (list(mine.mean), list(mine.std)) == (transform.image_mean, transform.image_std)
    assert isinstance(mine, BySides)
    if mine.shorter:  # an SSD resizes by itself
        assert ((mine.shorter,), mine.longer) == (transform.min_size, transform.max_size)
        assert mine.multiple == transform.size_divisible
