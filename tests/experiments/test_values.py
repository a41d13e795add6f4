"""Every number of every configuration and tool has bounds, also one that is new."""

import dataclasses
import importlib
import math
import typing
from pathlib import Path

import pytest

import experiments
from cnn_jax.data import DataConfig
from cnn_jax.errors import UserError
from cnn_jax.training import ControlConfig, OptimizerConfig, SweepConfig, TrainingConfig

MAY_BE_NEGATIVE = {"ignore_index"}
"""A label, of any value."""
SUFFIXES = ("Config", "Options")
FOLDER = Path(experiments.__path__[0])


def modules():
    for path in sorted(FOLDER.rglob("*.py")):
        # Without their types, the other files declare no options.
        if not path.name.startswith("__") and "@dataclass" in path.read_text():
            yield ".".join(("experiments", *path.relative_to(FOLDER).with_suffix("").parts))


def configurations():
    found = {DataConfig, ControlConfig, OptimizerConfig, SweepConfig, TrainingConfig}
    for name in modules():
        for value in vars(importlib.import_module(name)).values():
            is_class = isinstance(value, type) and dataclasses.is_dataclass(value)
            if is_class and value.__name__.endswith(SUFFIXES):
                found.add(value)
    return sorted(found, key=lambda one: f"{one.__module__}.{one.__name__}")


def numbers(hint):
    """The type of the numbers in a field: int, float or None."""
    if hint in (int, float):
        return hint
    if typing.get_origin(hint) is typing.Literal:
        return None
    kinds = [numbers(one) for one in typing.get_args(hint)]
    return next((one for one in kinds if one), None)


def numeric_fields():
    for config in configurations():
        hints = typing.get_type_hints(config)
        for field in dataclasses.fields(config):
            if kind := numbers(hints[field.name]):
                in_tuple = typing.get_origin(hints[field.name]) is tuple
                yield config, field.name, kind, in_tuple


def test_no_number_is_without_bounds():
    accepted, count = [], 0
    for config, name, kind, in_tuple in numeric_fields():
        required = {
            field.name: ()
            for field in dataclasses.fields(config)
            if field.default is field.default_factory is dataclasses.MISSING
        }
        count += 1
        for value in (-3, 2**40) if kind is int else (-3.0, math.nan, math.inf):
            if value == -3 and name in MAY_BE_NEGATIVE:
                continue
            try:
                config(**required | {name: (value,) if in_tuple else value})
            except UserError as error:
                assert name in str(error), error
                assert str(value) in str(error), error
            else:
                accepted.append(f"{config.__module__}.{config.__name__}.{name} = {value}")
    assert not accepted
    assert count > 90  # all were found


@pytest.mark.parametrize("name", ["x" * 300, "a/b", "../b", ".", ".."])
def test_a_name_is_that_of_a_folder(name):
    from experiments.tools.command_line import RunOptions

    with pytest.raises(UserError, match="--name must name a folder, in at most 200 bytes"):
        RunOptions(name=name)


DURATIONS = ("duration", "pretraining", "milestones", "warmup")
"""What the names of fields that are durations end in, besides "every"."""


def duration_fields():
    for config in configurations():
        hints = typing.get_type_hints(config)
        for field in dataclasses.fields(config):
            if "str" in str(hints[field.name]) and field.name.endswith((*DURATIONS, "every")):
                yield config, field.name, hints[field.name] is not str


def test_no_duration_is_without_a_check():
    found = list(duration_fields())
    assert len(found) >= 10  # all were found
    for config, name, in_tuple in found:
        for value in ("10 parsecs", "-1 steps", "nan epochs", "3e9 steps", "1e400 examples"):
            with pytest.raises(UserError, match=f"{config.__name__}.{name}: {value!r} is ") as told:
                config(**{name: (value,) if in_tuple else value})
            assert f"the flag that ends in {name.replace('_', '-')}" in str(told.value)


@pytest.mark.parametrize(
    ("tool", "words", "flag"),
    [
        ("tools.summary", ["resnet18", "--depth", "0"], "depth"),
        ("tools.predict", ["--model", "resnet18", "--image-size", "-3", "x.jpg"], "image-size"),
        ("tools.bench.command", ["train_step", "--rounds", "0"], "rounds"),
        ("cifar_speedrun", ["--training.momentum", "2"], "momentum"),
        ("augmentations", ["--data.workers", "-1"], "workers"),
        ("pooling_invariance", ["--window", "0"], "window"),
    ],
)
def test_a_value_out_of_bounds_is_told_in_one_line(tool, words, flag, capsys):
    with pytest.raises(SystemExit) as stop:
        importlib.import_module(f"experiments.{tool}").main(words)
    assert stop.value.code == 2
    printed = "".join(capsys.readouterr())
    assert printed.startswith("error: ") and printed.endswith(f"ends in {flag})\n")
    assert len(printed.splitlines()) == 1
