import pytest

from cnn_jax.models import ResNet, create_model, example_shape, list_models
from cnn_jax.models.registry import register


def test_names_come_in_the_order_of_their_depths():
    assert list_models("resnet*") == [f"resnet{n}" for n in (18, 34, 50, 101, 152)]
    assert list_models("cifar_plain*") == [f"cifar_plain{n}" for n in (20, 32, 44, 56, 110)]
    assert set(list_models("cifar_*")) < set(list_models())
    assert list_models("nothing*") == []


def test_attributes_reach_the_model():
    model = create_model("cifar_resnet20", num_classes=7, shortcut="B", norm="frozen")
    assert isinstance(model, ResNet)
    assert (model.num_classes, model.shortcut, model.norm) == (7, "B", "frozen")
    assert create_model("cifar_resnet20").num_classes == 10
    assert create_model("resnet18").num_classes == 1000


def test_an_unknown_name_is_answered_with_close_ones():
    with pytest.raises(ValueError, match=r"unknown model 'resnet51'; did you mean resnet50, "):
        create_model("resnet51")
    with pytest.raises(ValueError, match=r"unknown model '\?'; see cnn_jax.models.list_models"):
        create_model("?")


def test_an_unknown_attribute_is_answered_with_those_there_are():
    with pytest.raises(
        ValueError,
        match="unknown attribute 'classes' of model 'resnet50'; there are stem, residual, groups, "
        "width_per_group, num_classes, shortcut, zero_init_residual, dilated_stages, norm, "
        "norm_eps, dtype$",
    ):
        create_model("resnet50", classes=3)


def test_what_the_name_says_is_no_attribute():
    with pytest.raises(ValueError, match="unknown attribute 'residual' of model 'cifar_plain20'"):
        create_model("cifar_plain20", residual=True)
    with pytest.raises(ValueError, match="unknown attribute 'groups' of model 'resnext50_32x4d'"):
        create_model("resnext50_32x4d", groups=1)


def test_a_name_carries_the_shape_of_its_images():
    assert example_shape("resnet50") == (224, 224, 3)
    assert example_shape("inception_v3") == (299, 299, 3)
    assert example_shape("cifar_vgg16") == (32, 32, 3)
    assert example_shape("lenet5") == (28, 28, 1)
    with pytest.raises(ValueError, match=r"unknown model 'resnet51'; did you mean resnet50, "):
        example_shape("resnet51")


def test_a_name_is_given_once():
    with pytest.raises(ValueError, match="already a model named 'resnet18'"):
        register("resnet18", ResNet, (224, 224, 3))
