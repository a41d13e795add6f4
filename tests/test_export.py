"""A model's exported program gives its logits in a process that does not know this package."""

import subprocess
import sys

import jax
import numpy as np
import pytest

from cnn_jax.errors import UserError
from cnn_jax.export import export_stablehlo
from cnn_jax.models import create_model
from tests.tolerance import assert_close

# In isolation (-I), so that neither the checkout nor PYTHONPATH is on its path; where the package
# is installed, importing it, or what it is built with, fails.
ELSEWHERE = """
import sys
for name in ("cnn_jax", "flax", "optax"):
    sys.modules[name] = None
import jax, numpy
from jax import export
folder = sys.argv[1]
with open(folder + "/model.stablehlo", "rb") as file:
    program = export.deserialize(bytearray(file.read()))
images = numpy.load(folder + "/images.npy")
numpy.save(folder + "/one.npy", program.call(images[:1]))
numpy.save(folder + "/three.npy", program.call(images))
"""


def random_variables(model, image_shape):
    images = jax.ShapeDtypeStruct((1, *image_shape), np.float32)
    random = np.random.default_rng(0)
    return jax.tree.map(
        # Positive, for the variances among them.
        lambda leaf: random.uniform(0.01, 0.1, leaf.shape).astype(leaf.dtype),
        jax.eval_shape(model.init, jax.random.key(0), images),
    )


def images(image_shape):
    return np.random.default_rng(1).standard_normal((3, *image_shape), np.float32)


@pytest.mark.parametrize("name", ["cifar_resnet20", "simple_cnn"])
def test_the_same_logits_in_a_process_without_our_package(name, tmp_path):
    model, image_shape = create_model(name), (16, 16, 3)
    variables = random_variables(model, image_shape)
    program = export_stablehlo(model, variables, image_shape)
    (tmp_path / "model.stablehlo").write_bytes(program)
    np.save(tmp_path / "images.npy", images(image_shape))
    subprocess.run([sys.executable, "-I", "-c", ELSEWHERE, str(tmp_path)], check=True, timeout=300)
    expected = jax.jit(model.apply)(variables, images(image_shape))
    assert_close(np.load(tmp_path / "three.npy"), expected, rtol=1e-5)
    assert_close(np.load(tmp_path / "one.npy"), expected[:1], rtol=1e-5)


# Not AlexNet and VGG, over whose large constants XLA takes long: lenet5 and cifar_vgg16 have the
# same layers.
EXPORTED = {
    "mlp": (8, 8, 1),
    "lenet5": (32, 32, 1),
    "cifar_vgg16": (32, 32, 3),
    "googlenet": (32, 32, 3),
    "inception_v3": (75, 75, 3),
    "resnet18": (32, 32, 3),
    "resnext50_32x4d": (32, 32, 3),
    "densenet121": (32, 32, 3),
}


@pytest.mark.full
@pytest.mark.parametrize("name", EXPORTED)
def test_every_family_takes_batches_of_any_size(name):
    model, image_shape = create_model(name), EXPORTED[name]
    variables = random_variables(model, image_shape)
    program = export_stablehlo(model, variables, image_shape, platforms=["cpu"])
    call = jax.export.deserialize(bytearray(program)).call
    batch = images(image_shape)
    expected = jax.jit(model.apply)(variables, batch)
    assert_close(call(batch), expected, rtol=1e-5)
    assert_close(call(batch[:1]), expected[:1], rtol=1e-5)


def test_it_says_where_it_runs():
    model = create_model("simple_cnn", widths=(4,))
    variables = random_variables(model, (8, 8, 1))
    program = jax.export.deserialize(bytearray(export_stablehlo(model, variables, (8, 8, 1))))
    assert program.platforms == ("cpu", "cuda", "tpu")
    assert [str(size) for size in program.in_avals[0].shape] == ["batch", "8", "8", "1"]


def test_what_is_missing_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "flatbuffers", None)
    with pytest.raises(UserError, match=r"export needs flatbuffers.*cnn-jax\[export\]"):
        export_stablehlo(create_model("simple_cnn"), {}, (8, 8, 1))
