import jax
import numpy as np
import pytest
from flax.traverse_util import flatten_dict

from cnn_jax.models import create_model
from cnn_jax.pretrained import change_num_classes
from tests.tolerance import assert_close

IMAGE_SHAPE = (16, 16, 3)


@pytest.fixture(scope="module")
def trained():
    model = create_model("simple_cnn", num_classes=7)
    images = jax.ShapeDtypeStruct((1, *IMAGE_SHAPE), np.float32)
    shapes = jax.eval_shape(model.init, jax.random.key(0), images)
    random = np.random.default_rng(0)
    return model, jax.tree.map(lambda leaf: random.standard_normal(leaf.shape, leaf.dtype), shapes)


def test_the_body_is_kept_and_the_head_drawn(trained):
    model, variables = trained
    key = jax.random.key(3)
    changed, new, paths = change_num_classes(model, variables, 3, key, IMAGE_SHAPE)
    assert changed == create_model("simple_cnn", num_classes=3)
    assert sorted(paths) == ["params/head/bias", "params/head/kernel"]
    before, after = flatten_dict(variables, sep="/"), flatten_dict(new, sep="/")
    assert before.keys() == after.keys()
    own = changed.init(key, np.zeros((1, *IMAGE_SHAPE), np.float32))
    for path, value in after.items():
        if path in paths:
            assert_close(value, flatten_dict(own, sep="/")[path], rtol=1e-6)
        else:
            np.testing.assert_array_equal(value, before[path])
    assert after["params/head/kernel"].shape == (1024, 3)


def test_the_key_decides_what_is_drawn(trained):
    heads = [
        change_num_classes(*trained, 3, jax.random.key(seed), IMAGE_SHAPE)[1]["params"]["head"]
        for seed in (0, 0, 1)
    ]
    np.testing.assert_array_equal(heads[0]["kernel"], heads[1]["kernel"])
    assert not np.array_equal(heads[0]["kernel"], heads[2]["kernel"])


def test_the_same_number_changes_nothing(trained):
    model, variables = trained
    changed, new, paths = change_num_classes(model, variables, 7, jax.random.key(0), IMAGE_SHAPE)
    assert changed == model and paths == ()
    jax.tree.map(np.testing.assert_array_equal, new, dict(variables))
