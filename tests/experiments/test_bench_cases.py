"""The sides of a benchmark do the same work: ours, PyTorch's and plain Flax's."""

import os
from dataclasses import asdict, replace
from importlib.util import find_spec
from typing import get_args

import pytest
from rich.console import Console

from experiments.tools.bench import (
    convolution,
    devices,
    flax_models,
    max_pool,
    opponents,
    ours,
    plain_flax,
    sweep,
)
from experiments.tools.bench.cases import AGAINST_TORCH, CASES
from experiments.tools.bench.processes import Side, SideFailed, started
from experiments.tools.bench.train_step import Model
from experiments.tools.bench.utilization import utilization
from tests.tolerance import assert_close

# Smaller images, where the network is not made for one size.
SMALL = {
    "cifar_resnet20": replace(CASES["cifar_resnet20"], image_shape=(16, 16, 3)),
    "cifar_airbench94": replace(CASES["cifar_airbench94"], image_shape=(17, 17, 3)),
    "mlp": CASES["mlp"],
    "autoencoder": CASES["autoencoder"],
}
LARGE = {"resnet50": 8, "vgg16": 2, "unet": 1, "fcn8s": 1, "maskrcnn_resnet50_fpn": 1, "dcgan": 32}
"""Batch sizes of the others."""


@pytest.fixture
def quiet(monkeypatch):
    """Leave this process's memory and compilation cache as they are."""
    monkeypatch.setattr(ours, "set_up", lambda keep_memory=True: None)
    monkeypatch.setattr(plain_flax, "keep_compiled_programs", lambda: None)


@pytest.fixture
def arguments(quiet, tmp_path):
    def of(model: str) -> dict:
        return {"case": asdict(SMALL[model]), "batch_size": 8, "directory": str(tmp_path)}

    return of


def first_losses(run) -> list[float]:
    losses = [loss for _ in range(3) for loss in run(1)]
    assert len(losses) == 3
    return losses


@pytest.mark.parametrize("work", ["training", "inference"])
@pytest.mark.parametrize("model", SMALL)
def test_all_sides_have_the_same_losses(model, work, arguments):
    losses = first_losses(getattr(ours, work)(**arguments(model)))
    assert len(set(losses)) == (3 if work == "training" else 1)
    plain = getattr(plain_flax, work)(**arguments(model))
    assert_close(first_losses(plain), losses, rtol=1e-3)
    if find_spec("torch"):
        from experiments.tools.bench import pytorch

        theirs = getattr(pytorch, work)(**arguments(model))
        assert_close(first_losses(theirs), losses, rtol=1e-3)


@pytest.mark.full
@pytest.mark.parametrize("work", ["training", "inference"])
@pytest.mark.parametrize("model", LARGE)
def test_all_sides_of_large_networks_have_the_same_losses(model, work, tmp_path):
    case = CASES[model]
    detector, alone = case.task == "instances", case.task in AGAINST_TORCH
    # In Python torchvision's operators need more memory than tests may have.
    theirs = not detector or "CNN_JAX_TORCHVISION_CPU" not in os.environ
    sides = opponents.make_sides(
        model,
        work,
        batch_size=LARGE[model],
        precision="float32",
        opponents=opponents.DEFAULT if theirs else (),
        directory=tmp_path,
    )
    losses = {}
    # One after another, on one device: eight copies of VGG-16's parameters are 9 GB.
    for side in sides:
        alone = replace(side, environment=devices.virtual_devices(1))
        with started([alone], Console(quiet=True)) as processes:
            for process in processes:
                asked = [process.ask({"measure": "run", "steps": 1}) for _ in range(3)]
                losses[side.name] = [answer["numbers"] for answer in asked]
    for name in losses:
        # Rounding in float32 changes the next losses of so deep a network, with every library.
        assert_close(losses[name], losses["cnn_jax"], rtol=max(5e-3, case.tolerance))
    assert ("plain Flax" in losses) != alone
    needed = ("torch", "torchvision") if detector else ("torch",)
    assert ("PyTorch" in losses) == (theirs and all(map(find_spec, needed)))


def test_every_case_is_tested():
    assert {*SMALL, *LARGE} == {*CASES} == {*get_args(Model)}
    alone = {name for name, case in CASES.items() if case.task in AGAINST_TORCH}
    assert {*flax_models.MODELS} == {*CASES} - alone


def test_the_step_alone_trains_as_the_loop(arguments):
    losses = first_losses(ours.bare_step(**arguments("mlp")))
    # The same batch again and again is learnt.
    assert losses == sorted(losses, reverse=True)


def test_a_job_of_processes_trains_as_one(arguments):
    work = {name: arguments("mlp")[name] for name in ("case", "batch_size")}
    side = Side("job", f"{opponents.PACKAGE}.job:training", work | {"processes": 2})
    with started([side], Console(quiet=True)) as (job,):
        asked = [job.ask({"measure": "run", "steps": 1}) for _ in range(3)]
        with pytest.raises(SideFailed, match=r"process \d of the job"):
            job.ask({"measure": "run", "steps": "many"})
    losses = [loss for answer in asked for loss in answer["numbers"]]
    assert_close(losses, first_losses(ours.training(**work)), rtol=1e-5)


def test_rates_at_once_and_in_turn_have_the_same_losses(monkeypatch):
    monkeypatch.setattr(sweep, "keep_freed_memory", lambda: None)
    shape = {"learning_rates": (1e-3, 1e-1), "hidden": (8,), "image_size": 8, "batch_size": 16}
    first, second = (sweep.training(**shape, at_once=at_once)(4) for at_once in (True, False))
    assert len(set(first)) == 2
    assert_close(first, second, rtol=1e-3)


def test_convolutions_of_both_sides_are_equal(monkeypatch):
    monkeypatch.setattr(convolution, "keep_freed_memory", lambda: None)
    ours, derived = (
        convolution.gradients(side=side, shape=(2, 5, 5, 8), features=4, window=3)(1)
        for side in ("ours", "derived")
    )
    assert_close(ours, derived, rtol=1e-5)


def test_utilization_is_the_model_s_arithmetic_over_the_device_s():
    line = utilization(CASES["resnet50"], "training", "bfloat16", [3000.0], "NVIDIA H200 SXM")
    # 4.089 billion multiplications, each with an addition, three times.
    assert "73.6 TFLOP/s, at 24.5 GFLOP per image: 7.4% of NVIDIA H200 SXM's 989" in line
    assert utilization(CASES["mlp"], "inference", "float32", [1e6], "cpu").endswith("per image")


@pytest.mark.parametrize("shape", max_pool.SHAPES)
def test_both_gradients_of_max_pooling_are_equal(monkeypatch, shape):
    monkeypatch.setattr(max_pool, "keep_freed_memory", lambda: None)
    _, _, window, stride, padding = shape
    ours, flax = (
        max_pool.gradients(
            side=side, shape=(2, 10, 10, 3), window=window, stride=stride, padding=padding
        )(1)
        for side in ("ours", "flax")
    )
    assert ours == flax and ours[0] != 0
