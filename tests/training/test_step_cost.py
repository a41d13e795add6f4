"""What a step needs, counted in the compiled program, is what the arithmetic says."""

import numpy as np
import pytest

from cnn_jax.data import StreamSplit
from cnn_jax.errors import ConfigError
from cnn_jax.models import MLP
from cnn_jax.tasks import Classification
from cnn_jax.training import make_parallel
from cnn_jax.training.step_cost import Collective, StepCost, collectives, step_cost
from tests.training.small import dataset, make_runner, some_devices

TASK = Classification(MLP(hidden=(128, 256), num_classes=4))
KERNELS = [64 * 128, 128 * 256, 256 * 4]
DIVIDED = KERNELS[:2]  # the others have less than 4,096 numbers
PARAMETERS = sum(KERNELS) + 128 + 256 + 4
SUMS = 5
"""Numbers that are summed over the batch: loss, weight, examples and two counts of hits."""


@pytest.fixture(scope="module")
def costs() -> dict[str, StepCost]:
    return {
        mode: step_cost(make_runner(make_parallel(mode), TASK, dataset()))
        for mode in ("jit", "fsdp")
    }


def test_every_gradient_is_summed_once_under_jit(costs: dict[str, StepCost]) -> None:
    assert {one.kind for one in costs["jit"].collectives} == {"all-reduce"}
    assert costs["jit"].bytes_of("all-reduce") == 4 * (PARAMETERS + SUMS)


def test_fsdp_gathers_what_is_divided_and_sums_every_gradient(costs: dict[str, StepCost]) -> None:
    assert {one.kind for one in costs["fsdp"].collectives} == {"all-reduce", "all-gather"}
    assert costs["fsdp"].bytes_of("all-gather") == 4 * sum(DIVIDED)
    # The squared norm of each divided gradient is a sum over devices too.
    assert costs["fsdp"].bytes_of("all-reduce") == 4 * (PARAMETERS + SUMS + len(DIVIDED))


def test_memory_and_operations_of_a_device(costs: dict[str, StepCost]) -> None:
    # Parameters and momentum are divided; step, key and counters are not.
    rest = costs["jit"].state_bytes - 2 * 4 * PARAMETERS
    assert 0 < rest < 100
    divided = PARAMETERS - sum(DIVIDED) + sum(DIVIDED) // 8
    assert costs["fsdp"].state_bytes == 2 * 4 * divided + rest
    for cost in costs.values():
        assert cost.devices == 8
        # Forward and both gradients of each product but that of the images: 4 of 32 examples each.
        products = 2 * 4 * (3 * sum(KERNELS) - KERNELS[0])
        assert products < cost.flops < 1.3 * products
        assert cost.data_bytes > 64 * 64  # the images
        assert cost.memory == cost.state_bytes + cost.data_bytes + cost.temporary_bytes


def test_one_device_exchanges_nothing() -> None:
    cost = step_cost(make_runner(some_devices(1), TASK, dataset()))
    assert (cost.devices, cost.collectives) == (1, ())


def test_a_streamed_batch_is_divided() -> None:
    data = dataset()
    train = data.splits["train"]
    data.splits["train"] = StreamSplit(train, np.arange(len(train)))
    cost = step_cost(make_runner(make_parallel("jit"), TASK, data))
    assert cost.bytes_of("all-reduce") == 4 * (PARAMETERS + SUMS)
    assert 4 * 64 < cost.data_bytes < 8 * 64 + 200  # 4 images of 8x8 pixels, and the sums


def test_pmap_has_no_program_before_it_runs() -> None:
    with pytest.raises(ConfigError, match="--parallel pmap .*; use --parallel jit or fsdp"):
        step_cost(make_runner(make_parallel("pmap"), TASK, dataset()))


def test_collectives_are_read_from_a_program() -> None:
    program = """
    %a = f32[3,4]{1,0} all-reduce(%x), channel_id=1
    %b = (f32[8]{0}, bf16[2,2]{1,0}, pred[4]{0}) all-reduce(%x, %y, %z), channel_id=2
    %c = (f32[2,4]{1,0}, f32[16,4]{1,0}) all-gather-start(%x)
    %d = f32[16,4]{1,0} all-gather-done(%c)
    %e = f32[2,4]{1,0} reduce-scatter(%x), dimensions={0}
    %f = f32[8]{0} all-reduce-start(%x), channel_id=3
    %g = f32[2]{0} fusion(%a), kind=kLoop, calls=%all-reduce
    """
    assert collectives(program, 8) == (
        Collective("all-reduce", 48),
        Collective("all-reduce", 32 + 8 + 4),
        Collective("all-gather", 256),
        Collective("reduce-scatter", 256),
        Collective("all-reduce", 32),
    )
