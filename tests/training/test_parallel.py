"""One device is eight devices: by jit over a mesh with whole or divided state, and by pmap."""

from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import NamedSharding, PartitionSpec
from jax.tree_util import DictKey, GetAttrKey

from cnn_jax.data import random_crop, random_flip
from cnn_jax.errors import ConfigError
from cnn_jax.layers import conv2d
from cnn_jax.models import MLP, cifar_resnet
from cnn_jax.tasks import Classification
from cnn_jax.training import Parallel, TrainState, make_parallel
from cnn_jax.training.checkpoint import Checkpoints
from cnn_jax.training.placement import partition
from tests.tolerance import assert_close
from tests.training.small import (
    ConvNet,
    advance,
    dataset,
    make_runner,
    one_device,
    some_devices,
    ways,
)

RESNET = Classification(cifar_resnet(8, num_classes=4, shortcut="B"))
LARGE = Classification(MLP(hidden=(128, 256), num_classes=4))


def all_ways() -> dict[str, Parallel]:
    """With the one that divides large arrays alone, such as a ResNet's."""
    return ways() | {"fsdp": make_parallel("fsdp")}


def test_there_are_eight_devices() -> None:
    assert jax.device_count() == 8
    assert make_parallel("auto").mode == "jit"
    assert make_parallel("pmap").num_devices == 8
    assert one_device().num_devices == 1


@pytest.fixture(scope="module")
def one_step() -> dict[str, tuple]:
    return {name: advance(way, RESNET, dataset(), 1) for name, way in all_ways().items()}


@pytest.mark.parametrize("mode", ["jit", "fsdp", "pmap"])
def test_one_step_of_a_resnet_in_float32(one_step: dict[str, tuple], mode: str) -> None:
    assert_close(one_step[mode], one_step["one device"], rtol=1e-5, atol=1e-7)


@pytest.fixture(scope="module")
def twenty_steps() -> dict[str, tuple]:
    with jax.enable_x64(True):
        return {name: advance(way, RESNET, dataset(), 20) for name, way in all_ways().items()}


@pytest.mark.parametrize("mode", ["jit", "fsdp", "pmap"])
def test_twenty_steps_of_a_resnet_in_float64(twenty_steps: dict[str, tuple], mode: str) -> None:
    expected = twenty_steps["one device"]
    assert all(a.dtype == np.float64 for a in jax.tree.leaves(expected[0]))
    assert_close(twenty_steps[mode], expected, rtol=1e-9, atol=1e-12)
    # And they have gone somewhere.
    begin, _ = advance(one_device(), RESNET, dataset(), 0)
    kernel = begin["params"]["head"]["kernel"]
    assert np.max(np.abs(expected[0]["params"]["head"]["kernel"] - kernel)) > 0.01


def test_augmentation_does_not_depend_on_the_devices() -> None:
    data = dataset(augment=(random_crop(2), random_flip()))
    with jax.enable_x64(True):
        results = {
            name: advance(w, Classification(ConvNet()), data, 5) for name, w in ways().items()
        }
        plain = advance(one_device(), Classification(ConvNet()), dataset(), 5)
    assert_close(results["jit"], results["one device"], rtol=1e-9, atol=1e-12)
    assert_close(results["pmap"], results["one device"], rtol=1e-9, atol=1e-12)
    with pytest.raises(AssertionError):
        assert_close(plain, results["one device"], rtol=1e-6)


@pytest.mark.parametrize("mode", ["one device", "jit", "pmap"])
def test_accumulated_micro_batches_are_the_batch(mode: str) -> None:
    task = Classification(ConvNet(norm="frozen"))
    with jax.enable_x64(True):
        way = ways()[mode]
        expected = advance(one_device(), task, dataset(), 3)
        for count in (2, 4):
            actual = advance(way, task, dataset(), 3, accumulate=count)
            assert_close(actual, expected, rtol=1e-9, atol=1e-12)


def test_dropout_draws_a_mask_for_each_device_under_pmap_alone() -> None:
    task = Classification(MLP(hidden=(32,), num_classes=4, dropout=0.5))
    with jax.enable_x64(True):
        results = {name: advance(way, task, dataset(), 2) for name, way in ways().items()}
        again = advance(make_parallel("pmap"), task, dataset(), 2)
    assert_close(results["jit"], results["one device"], rtol=1e-9, atol=1e-12)
    assert_close(again, results["pmap"], rtol=1e-9, atol=1e-12)
    kernel, other = (results[mode][0]["params"]["head"]["kernel"] for mode in ("jit", "pmap"))
    assert np.max(np.abs(kernel - other)) > 1e-3


def test_sums_over_devices_all_stand_in_the_main_program() -> None:
    """Inside of a call XLA's CPU runtime gives them no order, and devices wait for each other."""
    mesh = make_parallel("jit").mesh
    kernel = jnp.ones((3, 3, 2, 4))
    x = jax.device_put(jnp.ones((16, 6, 6, 2)), NamedSharding(mesh, PartitionSpec("data")))
    gradient = jax.jit(jax.grad(lambda kernel, x: jnp.sum(jnp.sin(conv2d(jnp.sin(x), kernel)))))
    computations = gradient.lower(kernel, x).compile().as_text().split("\n\n")
    with_sums = [text for text in computations if " all-reduce(" in text]
    assert len(with_sums) == 1
    assert with_sums[0].startswith("ENTRY")


@pytest.mark.parametrize(
    ("shape", "expected"),
    [
        ((3, 3, 64, 128), PartitionSpec(None, None, None, "data")),
        ((512, 100), PartitionSpec("data")),
        ((16, 64, 64), PartitionSpec(None, "data")),  # the first of equally large axes
        ((1000, 36), PartitionSpec("data")),
        ((99, 4096), PartitionSpec(None, "data")),
        ((101, 103), PartitionSpec()),  # no axis can be divided
        ((4095,), PartitionSpec()),  # small
        ((), PartitionSpec()),
    ],
)
def test_the_largest_axis_is_divided(shape: tuple[int, ...], expected: PartitionSpec) -> None:
    for part in ("params", "opt_state", "ema"):
        path = (GetAttrKey(part), DictKey("kernel"))
        assert partition(path, shape, 8) == expected
        assert partition(path, shape) == PartitionSpec()
    assert partition((GetAttrKey("model_state"), DictKey("mean")), shape, 8) == PartitionSpec()
    assert partition((GetAttrKey("carry"),), shape, 8) == PartitionSpec("data")


def test_each_device_keeps_a_piece_and_a_computation_sees_the_whole(tmp_path: Path) -> None:
    fsdp = make_parallel("fsdp")
    runner = make_runner(fsdp, LARGE, dataset(), ema_decay=0.9)
    state = runner.init()
    after, _ = runner.advance(runner.init(), runner.zero_sums(state), 1)
    for one in (state, after):
        for tree in (one.params, one.opt_state, one.ema):
            pieces, everything = _bytes_of_a_device(tree), _bytes(tree)
            small = sum(leaf.nbytes for leaf in jax.tree.leaves(tree) if leaf.size < 4096)
            assert pieces == small + (everything - small) / 8 < everything / 4
    whole = fsdp.whole(after)
    assert _bytes_of_a_device((whole.params, whole.ema)) == _bytes((whole.params, whole.ema))
    assert_close(whole.params, after.params, rtol=0, atol=0)
    metrics = runner.evaluate(after, "validation")
    # What was saved in pieces goes on with any number of devices.
    checkpoints = Checkpoints(tmp_path, best_metric="accuracy")
    checkpoints.save(1, after)
    checkpoints.wait()
    for other in (one_device(), some_devices(4), Parallel("fsdp", some_devices(4).mesh)):
        other_runner = make_runner(other, LARGE, dataset(), ema_decay=0.9)
        restored: TrainState = checkpoints.restore(1, other_runner.init())
        assert_close(restored.opt_state, after.opt_state, rtol=0, atol=0)
        assert_close(restored.ema, after.ema, rtol=0, atol=0)
        if other.num_devices == 1:
            assert_close(other_runner.evaluate(restored, "validation"), metrics, rtol=1e-4)
    checkpoints.close()


def _bytes(tree: Any) -> int:
    return sum(leaf.nbytes for leaf in jax.tree.leaves(tree))


def _bytes_of_a_device(tree: Any) -> int:
    return _bytes([leaf.addressable_shards[0].data for leaf in jax.tree.leaves(tree)])


def test_a_batch_that_cannot_be_divided() -> None:
    everywhere = make_parallel("jit")
    everywhere.check_batch(64)
    with pytest.raises(ConfigError) as caught:
        everywhere.check_batch(100)
    assert str(caught.value) == (
        "batch size 100 cannot be divided over 8 devices; take a multiple of 8, such as 96 or 104"
    )
    with pytest.raises(ConfigError, match="8 devices x 4 accumulated micro-batches; .* 32 or 64$"):
        everywhere.check_batch(60, 4)
    with pytest.raises(ConfigError, match="take a multiple of 8, such as 8 or 8"):
        everywhere.check_batch(4)
