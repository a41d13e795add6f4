import numpy as np

from cnn_jax.pretrained.renamed import torchvision_names


def zeros(shapes):
    return {name: np.zeros(shape, np.float32) for name, shape in shapes.items()}


def shapes(state):
    return {name: array.shape for name, array in state.items()}


def test_the_classifier_of_timms_vgg():
    # Names and shapes as timm 1.0.31 has them, with fewer channels.
    timm = zeros(
        {
            "features.0.weight": (64, 3, 3, 3),
            "features.0.bias": (64,),
            "pre_logits.fc1.weight": (40, 5, 7, 7),
            "pre_logits.fc1.bias": (40,),
            "pre_logits.fc2.weight": (40, 40, 1, 1),
            "pre_logits.fc2.bias": (40,),
            "head.fc.weight": (10, 40),
            "head.fc.bias": (10,),
        }
    )
    kernel = np.arange(40 * 5 * 49).reshape(40, 5, 7, 7)
    timm["pre_logits.fc1.weight"] = kernel
    state = torchvision_names(timm)
    assert shapes(state) == {
        "features.0.weight": (64, 3, 3, 3),
        "features.0.bias": (64,),
        "classifier.0.weight": (40, 245),
        "classifier.0.bias": (40,),
        "classifier.3.weight": (40, 40),
        "classifier.3.bias": (40,),
        "classifier.6.weight": (10, 40),
        "classifier.6.bias": (10,),
    }
    # Channel 3, row 2, column 4 of the map, in the order of PyTorch's flatten.
    assert (state["classifier.0.weight"][:, 3 * 49 + 2 * 7 + 4] == kernel[:, 3, 2, 4]).all()


def test_a_head_of_another_model_stays():
    assert torchvision_names(zeros({"head.fc.weight": (3, 4)})).keys() == {"head.fc.weight"}


def test_the_layers_of_old_densenets():
    old = {
        "features.conv0.weight": "features.conv0.weight",
        "features.denseblock1.denselayer1.norm.1.weight": (
            "features.denseblock1.denselayer1.norm1.weight"
        ),
        "features.denseblock4.denselayer16.conv.2.weight": (
            "features.denseblock4.denselayer16.conv2.weight"
        ),
        "features.denseblock4.denselayer2.norm.2.running_var": (
            "features.denseblock4.denselayer2.norm2.running_var"
        ),
        "features.transition1.conv.weight": "features.transition1.conv.weight",
        "features.norm5.weight": "features.norm5.weight",
    }
    state = torchvision_names({name: np.full(1, i) for i, name in enumerate(old)})
    assert {name: int(array[0]) for name, array in state.items()} == {
        new: i for i, new in enumerate(old.values())
    }
    assert torchvision_names(state).keys() == state.keys()
