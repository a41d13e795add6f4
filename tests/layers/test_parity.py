"""Every operator of tests/layers/operators equals PyTorch's, values and gradients."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.layers.operators import SUBJECTS, operators
from tests.layers.parity import (
    RECORDED_CASES,
    Draw,
    our_result,
    read_record,
    recorded_case,
    torch_result,
)
from tests.references.weights import digest
from tests.tolerance import assert_close

OPERATORS = [
    pytest.param(subject, operator, id=f"{subject}-{operator.name}")
    for subject in SUBJECTS
    for operator in operators(subject)
]


@pytest.mark.parametrize(("subject", "operator"), OPERATORS)
def test_equals_the_record_of_pytorch(subject, operator):
    record = read_record(subject)
    assert operator.name in record, (
        f"{operator.name} is not recorded: python -m tests.references.record_operators {subject}"
    )
    assert len(record[operator.name]) == RECORDED_CASES
    for number, expected in enumerate(record[operator.name]):
        actual = our_result(operator, *recorded_case(operator, number))
        assert actual.keys() == expected.keys()
        for name, value in expected.items():
            mine = digest(actual[name])
            assert mine["shape"] == value["shape"], f"case {number}, {name}"
            # The eight values stand for a tensor whose largest value is not below its mean square.
            scale = value["norm"] / np.sqrt(max(actual[name].size, 1))
            assert_close(mine["norm"], value["norm"])
            assert_close(mine["values"], value["values"], atol=1e-8 * scale + 1e-10)


@pytest.mark.parametrize(("subject", "operator"), OPERATORS)
def test_equals_pytorch_itself(subject, operator, request):
    pytest.importorskip("torch", reason="torch is not installed")

    @settings(
        max_examples=200 if request.config.getoption("--full") else 20,
        deadline=None,
        derandomize=True,
    )
    @given(st.data())
    def compare(data):
        inputs, keywords = operator.sample(
            Draw(lambda low, high: data.draw(st.integers(low, high)))
        )
        for dtype, tolerance in ((np.float64, {}), (np.float32, {"rtol": 1e-5, "atol": 1e-6})):
            expected = torch_result(operator, inputs, keywords, dtype)
            assert_close(our_result(operator, inputs, keywords, dtype), expected, **tolerance)

    compare()


@pytest.mark.parametrize("subject", SUBJECTS)
def test_the_record_holds_no_other_operators(subject):
    names = [operator.name for operator in operators(subject)]
    assert sorted(names) == sorted(read_record(subject))
