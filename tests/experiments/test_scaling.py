"""Scaling on paper: the times of exchanges, published points, and the command."""

import pytest

from cnn_jax.training.step_cost import Collective, StepCost
from experiments import scaling
from experiments.tools.chips import CHIPS, HOP, Chip, exchange_seconds

CHIP = Chip(flops=1e12, memory=1e9, fast_chips=4, fast=1e9, slow=1e8)


def test_bytes_travel_once_or_twice_inside_and_across():
    gather, reduce = Collective("all-gather", 4_000_000), Collective("all-reduce", 4_000_000)
    assert exchange_seconds([reduce], CHIP, 1) == 0
    # 3 of 4 parts of 4 MB at 1 GB/s.
    assert exchange_seconds([gather], CHIP, 4) == pytest.approx(3e-3 + 2 * HOP)
    assert exchange_seconds([reduce], CHIP, 4) == pytest.approx(2 * (3e-3 + 2 * HOP))
    # Then half of each chip's 1 MB at 100 MB/s.
    assert exchange_seconds([gather], CHIP, 8) == pytest.approx(3e-3 + 5e-3 + 3 * HOP)
    # Small ones are made together.
    parts = 4 * [Collective("all-gather", 1_000_000)]
    assert exchange_seconds(parts, CHIP, 8) == exchange_seconds([gather], CHIP, 8)
    with pytest.raises(ValueError, match="no time is known for all-to-all"):
        exchange_seconds([Collective("all-to-all", 1)], CHIP, 4)


def cost(images: int) -> StepCost:
    """ResNet-50 in float32: three times 8.2 GFLOP an image, 25.6 million parameters."""
    reduce = Collective("all-reduce", 4 * 25_557_032)
    return StepCost(8, 0, 0, 0, images * 3 * 8.2e9, (reduce,))


def test_the_published_efficiency_of_256_gpus_is_within_the_bounds():
    """About 90% of that of 8 (Goyal et al. 2017, figure 7)."""
    few, many = (
        scaling.step_of(cost(32), CHIPS["P100"], count, images=32, utilization=0.45)
        for count in (8, 256)
    )
    assert many.without_overlap / few.without_overlap < 0.9 < many.with_overlap / few.with_overlap


def test_the_published_rate_of_a_pod_is_within_the_bounds():
    """1,050,000 images/s (Ying et al. 2018), which is 20.5% of the pod's operations."""
    step = scaling.step_of(cost(32), CHIPS["TPU v3"], 1024, images=32, utilization=0.21)
    low, high = step.images_per_second
    assert low < 1.05e6 < high


def test_what_breaks_first():
    fine = scaling.Step(chips=8, images=32, compute=1.0, exchange=0.05)
    assert fine.trouble(host_rate=300) == ""
    assert fine.trouble(host_rate=200) == "input"
    slow = scaling.Step(chips=8, images=32, compute=1.0, exchange=0.2)
    assert slow.trouble(host_rate=300) == "network"
    assert slow.with_overlap == 1 and slow.without_overlap == pytest.approx(1 / 1.2)
    large = scaling.Step(chips=2048, images=32, compute=1.0, exchange=0.05)
    assert large.trouble(host_rate=300) == "batch"


def test_the_command_compiles_a_step_and_draws(tmp_path, capsys):
    scaling.main(["--smoke", "--workdir", str(tmp_path)])
    shown = capsys.readouterr().out
    # The gradients of LeNet-5's 83,126 parameters for RGB images, and a few sums.
    assert "lenet5, 4 images of 32x32 a chip" in shown and "1 exchanges of 332.5 kB" in shown
    assert (tmp_path / "scaling" / "efficiency.png").is_file()


def test_an_unknown_chip_is_named(capsys):
    with pytest.raises(SystemExit):
        scaling.main(["--chips", "abacus"])
    assert "no chip 'abacus'; there are TPU v3" in " ".join(capsys.readouterr().err.split())
