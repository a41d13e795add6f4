"""Each augmentation equals torchvision's, once its random numbers are drawn."""

import json
import zlib
from functools import cache
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.data.augment_operators import OPERATORS
from tests.references.torchvision_models import import_torchvision
from tests.references.weights import digest
from tests.tolerance import assert_close

RECORD = Path(__file__).parents[1] / "references" / "augmentation.json"
RECORDED_CASES = 6
EACH = pytest.mark.parametrize("operator", OPERATORS, ids=lambda operator: operator.name)


def case(operator, number):
    """Example and settings of one of the recorded cases."""
    return operator.sample(np.random.default_rng([zlib.crc32(operator.name.encode()), number]))


@cache
def compiled(change):
    return jax.jit(change, static_argnames="size")


def ours(operator, example, keywords, dtype):
    with jax.enable_x64(dtype == np.float64):
        arrays = {name: jnp.asarray(value) for name, value in cast(example, dtype).items()}
        return jax.tree.map(np.asarray, compiled(operator.ours)(arrays, **keywords))


def torchvisions(operator, example, keywords, dtype):
    import torch

    tensors = {name: torch.tensor(value) for name, value in cast(example, dtype).items()}
    return {name: value.numpy() for name, value in operator.torch(tensors, **keywords).items()}


def cast(example, dtype):
    return {
        name: value.astype(dtype if value.dtype == np.float64 else np.int32)
        for name, value in example.items()
    }


def record():
    """By operator, the digests of what torchvision makes of the recorded cases."""
    return {
        operator.name: [
            {
                name: digest(value)
                for name, value in torchvisions(
                    operator, *case(operator, number), np.float64
                ).items()
            }
            for number in range(RECORDED_CASES)
        ]
        for operator in OPERATORS
    }


@EACH
def test_equals_the_record_of_torchvision(operator):
    expected = json.loads(RECORD.read_text())[operator.name]
    assert len(expected) == RECORDED_CASES
    for number, parts in enumerate(expected):
        result = ours(operator, *case(operator, number), np.float64)
        assert_close({k: digest(v) for k, v in result.items()}, parts, rtol=operator.tolerance)


@EACH
def test_equals_torchvision_itself(operator, request):
    try:
        import_torchvision()
    except ImportError as error:
        pytest.skip(f"torchvision cannot be imported: {error}")

    @settings(
        max_examples=200 if request.config.getoption("--full") else 20,
        deadline=None,
        derandomize=True,
    )
    @given(st.integers(0, 2**32 - 1))
    def compare(seed):
        example, keywords = operator.sample(np.random.default_rng(seed))
        for dtype, tolerance in ((np.float64, operator.tolerance), (np.float32, 1e-5)):
            expected = torchvisions(operator, example, keywords, dtype)
            result = ours(operator, example, keywords, dtype)
            assert result["image"].dtype == dtype
            assert_close(result, expected, rtol=tolerance)

    compare()
