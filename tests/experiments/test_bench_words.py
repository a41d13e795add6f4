"""The benchmarks of texts: sides do the same work."""

from importlib.util import find_spec

import numpy as np
import pytest

from experiments.tools.bench import lstm, words
from tests.tolerance import assert_close

TEXT = "a king rules a land\na queen rules a land\nthe cat sat on the mat\n" * 800


@pytest.mark.parametrize("cell", ["lstm", pytest.param("gru", marks=pytest.mark.full)])
def test_language_models_of_both_sides_have_the_same_losses(monkeypatch, tmp_path, cell):
    monkeypatch.setattr(lstm, "set_up", lambda: None)
    sizes = {"cell": cell, "features": 8, "layers": 2, "window": 10, "batch_size": 8}
    ours = lstm.training(**sizes, directory=str(tmp_path))
    losses = [loss for _ in range(3) for loss in ours(1)]
    assert len(set(losses)) == 3
    if find_spec("torch"):
        from experiments.tools.bench import torch_lstm

        theirs = torch_lstm.training(**sizes, directory=str(tmp_path))
        assert_close([loss for _ in range(3) for loss in theirs(1)], losses, rtol=1e-4)


@pytest.mark.parametrize("side", ["ours", "gensim"])
def test_each_side_trains_and_tests_word_vectors(monkeypatch, tmp_path, side):
    if side == "gensim":
        pytest.importorskip("gensim", reason="gensim is not installed")
    monkeypatch.setattr(words, "set_up", lambda: None)
    (tmp_path / "text.txt").write_text(TEXT)
    (tmp_path / "pairs.txt").write_text("king queen 9\nking cat 1\nland mat 2\n")
    (tmp_path / "questions.txt").write_text(": all\nking queen cat mat\n")
    run = getattr(words, side)(
        text=str(tmp_path / "text.txt"),
        tests=[str(tmp_path / name) for name in ("pairs.txt", "questions.txt")],
        epochs=2,
        seed=0,
        size=8,
        window=2,
        negatives=2,
        objective="skip_gram",
        learning_rate=0.025,
        least_count=1,
    )
    run(1)
    run(1)
    spearman, accuracy = run(0)
    assert -1 <= spearman <= 1 and accuracy in (0, 1) and np.isfinite(spearman)
