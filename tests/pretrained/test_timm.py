"""timm's state dicts of the families that it shares with torchvision convert."""

import json
from pathlib import Path

import jax
import numpy as np
import pytest

from cnn_jax.models import create_model, example_shape
from cnn_jax.pretrained import from_torch
from cnn_jax.pretrained.renamed import torchvision_names
from tests.pretrained.test_convert import our_shapes, torch_shape
from tests.references.record_timm import MODELS, in_timms_names, names_digest
from tests.references.torchvision_models import import_torchvision
from tests.tolerance import assert_close

RECORDS = Path(__file__).parents[1] / "references" / "timm_names.json"
FAST = ("resnet18", "vgg11_bn", "densenet121", "resnext50_32x4d", "wide_resnet50_2")
PARAMETERS = [
    pytest.param(name, marks=[] if name in FAST else [pytest.mark.full]) for name in MODELS
]


@pytest.mark.parametrize("name", PARAMETERS)
def test_the_names_are_those_that_timm_has(name):
    model = create_model(name)
    own = our_shapes(model, example_shape(name))
    shapes = {key: torch_shape(own[path]) for key, path in model.torch_names().items()}
    counters = {
        key.removesuffix("running_var") + "num_batches_tracked": ()
        for key in shapes
        if key.endswith("running_var")
    }
    timms = in_timms_names(shapes | counters)
    assert names_digest(timms) == json.loads(RECORDS.read_text())[name]
    # Arrays with strides of 0 have the shapes of a VGG without its memory.
    arrays = {key: np.broadcast_to(np.float32(0), shape) for key, shape in timms.items()}
    back = {key: array.shape for key, array in torchvision_names(arrays).items()}
    assert back == shapes | counters


@pytest.mark.full
@pytest.mark.parametrize("name", ["resnet18", "vgg11_bn", "densenet121", "resnext50_32x4d"])
def test_the_logits_are_those_of_timm(name):
    torch = pytest.importorskip("torch", reason="torch is not installed")
    try:
        import_torchvision()
    except ImportError as error:
        pytest.skip(f"torchvision cannot be imported (set CNN_JAX_TORCHVISION_CPU?): {error}")
    timm = pytest.importorskip("timm", reason="timm is not installed")
    torch.manual_seed(0)
    theirs = timm.create_model(name, num_classes=10).double().eval()
    images = np.random.default_rng(0).standard_normal((1, 224, 224, 3))
    with torch.no_grad():
        expected = theirs(torch.tensor(images.transpose(0, 3, 1, 2))).numpy()
    with jax.enable_x64(True):
        model = create_model(name, num_classes=10)
        variables = from_torch(model, theirs.state_dict())
        logits = jax.jit(model.apply)(variables, images)
    assert_close(logits, expected)
