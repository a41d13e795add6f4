"""Compiled chunks, as on one device or a GPU: one program, bit-equal wherever a run is cut."""

from typing import Any

import jax
import numpy as np
import pytest

from cnn_jax.data import random_flip
from cnn_jax.tasks import Classification
from cnn_jax.training import Parallel
from tests.tolerance import assert_close
from tests.training.small import ConvNet, advance, begin, dataset, make_runner, ways

TASK = Classification(ConvNet())
DATA = dataset(augment=(random_flip(),))


@pytest.mark.parametrize("way", ["one device", "jit", "pmap"])
def test_chunks_are_bit_equal_for_every_cut_and_equal_single_steps(
    way: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    parallel = ways()[way]
    monkeypatch.setattr(Parallel, "compiled_chunks", property(lambda _: False))
    single, _ = advance(parallel, TASK, DATA, 5)
    monkeypatch.setattr(Parallel, "compiled_chunks", property(lambda _: True))
    runner = make_runner(parallel, TASK, DATA)

    def trained(*cuts: int) -> Any:
        state = begin(runner)
        sums = runner.zero_sums(state)
        for n in cuts:
            state, sums = runner.advance(state, sums, n)
        return jax.tree.map(np.asarray, (state.params, state.model_state, sums))

    whole, cut = trained(5), trained(1, 3, 1)
    assert all(
        np.array_equal(a, b)
        for a, b in zip(jax.tree.leaves(whole), jax.tree.leaves(cut), strict=True)
    )
    assert_close({"params": whole[0], "statistics": whole[1]}, single, rtol=1e-4, atol=1e-5)
