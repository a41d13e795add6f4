"""The short form of `python -m experiments.tools.kill_and_resume`."""

import pytest

from experiments.tools.kill_and_resume import Options, kill_and_resume, moment_of, table
from experiments.tools.phases import read_phases


def test_killed_trainings_are_the_uninterrupted_ones_to_the_bit(tmp_path, monkeypatch):
    # On one device a process is there sooner.
    monkeypatch.setenv("XLA_FLAGS", "")
    outcomes = kill_and_resume(Options(kills=2, kinds=("stream",), steps=20), tmp_path)
    assert outcomes["stream"].hits.total() == 2 and outcomes["stream"].arrays > 0
    assert outcomes["stream"].differences == []
    assert table(outcomes).row_count == 2
    # The same command goes on where it was, which is the end.
    told = []
    again = kill_and_resume(Options(kills=2, kinds=("stream",), steps=20), tmp_path, told.append)
    assert again == {"stream": outcomes["stream"]} and told == []


@pytest.mark.parametrize(
    ("lines", "moment"),
    [
        ([], "start-up"),
        (["7 compiling 0"], "start-up"),
        (["7 compiling 0", "7 training 1"], "step"),
        (["7 training 9", "7 saving 10", "7 training 10"], "save"),
        (["7 training 9", "7 saving 10", "7 training 10", "7 saved 10"], "step"),
        (["7 evaluating 10", "8 evaluating 10"], "evaluation"),
        (["7 evaluating 10", "7 saving 10", "7 saved 10", "7 drawing 0"], "figures"),
    ],
)
def test_what_a_kill_has_hit(lines, moment, tmp_path):
    path = tmp_path / "phases.txt"
    path.write_text("".join(f"{line}\n" for line in lines) + "7 cut")
    assert moment_of(read_phases(path)) == moment


def test_a_kind_that_is_unknown():
    with pytest.raises(ValueError, match="no kind 'gan'; there are supervised, study"):
        Options(kinds=("gan",))
