"""Sides of a benchmark: each in its own process, one at a time; nothing by a clock."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from rich.console import Console

from cnn_jax.errors import UserError
from experiments.tools.bench import command, comparison, processes, startup
from experiments.tools.bench.comparison import Comparison, DifferentWork, check_same_work
from experiments.tools.bench.processes import Process, Side, SideFailed, started

# Their process imports nothing that takes long.
HERE = "tests.experiments.bench_sides"


def side(function: str, *, needed: bool = True, **arguments) -> Side:
    return Side(function, f"{HERE}:{function}", arguments, needed=needed)


@contextmanager
def one(function: str, **arguments) -> Iterator[Process]:
    with started([side(function, **arguments)], Console(quiet=True)) as (process,):
        yield process


STEPS = {"measure": "run", "steps": 2}


def test_a_side_makes_steps_in_its_own_process_and_is_suspended_between_them():
    with one("counting", first=5.0) as process:
        assert process.ask(STEPS)["numbers"] == [7.0]
        answer = process.ask(STEPS)
        assert answer["numbers"] == [9.0]
        assert answer["seconds"] >= 0 and answer["cpu_seconds"] >= 0
        assert process.ask({"measure": "peak", "steps": 1})["bytes"] >= 0
        state = Path(f"/proc/{process.pid}/stat").read_text().rpartition(")")[2].split()[0]
        assert state == "T"
    assert not Path(f"/proc/{process.pid}").exists()


def test_sides_end_with_an_error_between_them():
    with pytest.raises(KeyboardInterrupt), one("counting") as process:
        raise KeyboardInterrupt
    assert not Path(f"/proc/{process.pid}").exists()


def test_an_error_of_a_side_is_shown_whole():
    with one("failing") as process, pytest.raises(SideFailed) as caught:
        process.ask(STEPS)
    assert "failing failed:" in str(caught.value)
    assert "Traceback" in str(caught.value) and "no 2 steps today" in str(caught.value)


def test_a_side_that_dies_gives_its_signal_and_last_words():
    with one("dying") as process, pytest.raises(SideFailed) as caught:
        process.ask(STEPS)
    assert "dying ended without an answer, killed by SIGKILL" in str(caught.value)
    assert "the last words" in str(caught.value)


def test_a_side_that_hangs_is_killed(monkeypatch):
    with one("hanging") as process:
        monkeypatch.setattr(processes, "PATIENCE_SECONDS", 0.5)
        with pytest.raises(SideFailed, match="did not answer within 0 s and was killed"):
            process.ask(STEPS)


def test_an_opponent_that_is_not_installed_is_left_out_with_a_line(capsys):
    sides = [side("counting"), side("missing", needed=False)]
    with started(sides, Console()) as left:
        assert [process.name for process in left] == ["counting"]
    assert "without missing: wings are not installed" in capsys.readouterr().out
    with pytest.raises(UserError, match="pip install wings"), one("missing"):
        pass


def test_sides_of_different_work_are_not_compared():
    sides = [side("counting"), Side("other", f"{HERE}:counting", {"first": 3.0})]
    with started(sides, Console(quiet=True)) as both:
        line = check_same_work(both, steps=2, rtol=2.0)
        assert line == "losses of the first steps: counting 1, 2; other 4, 5"
        with pytest.raises(DifferentWork, match="other does not do the same work as counting"):
            check_same_work(both, steps=2, rtol=0.5)


@pytest.mark.parametrize("number", [float("nan"), float("inf")])
def test_losses_that_are_not_finite_are_no_agreement(number):
    sides = [side("counting"), Side("other", f"{HERE}:counting", {"first": number})]
    with started(sides, Console(quiet=True)) as both, pytest.raises(DifferentWork):
        check_same_work(both, steps=1, rtol=1.0)


def test_sides_run_in_turn_and_every_other_round_begins_with_the_last():
    calls = []

    def measure(name: str) -> float:
        calls.append(name)
        return float(len(calls))

    values = comparison.in_turn([lambda n=name: measure(n) for name in "abc"], rounds=3)
    assert "".join(calls) == "abccbaabc"
    assert values == [[1.0, 6.0, 7.0], [2.0, 5.0, 8.0], [3.0, 4.0, 9.0]]


def test_a_suite_prints_its_table_and_writes_json(monkeypatch, tmp_path, capsys):
    values = {"ours": [1.0, 3.0], "theirs": [2.0, 4.0], "PyTorch": [1.0, 1.0]}
    measured = Comparison("sums", "s", values, ("a note",), {"more": 1})
    monkeypatch.setattr(startup, "measure", lambda options, console: [measured])
    monkeypatch.setattr(command.metadata, "version", lambda package: f"{package}'s")
    command.main(["startup", "--output", str(tmp_path / "out.json")])
    shown = capsys.readouterr().out
    assert "0.625 (0.500 to 0.750)" in shown and "a note" in shown
    written = json.loads((tmp_path / "out.json").read_text())
    (first,) = written["comparisons"]
    assert first["ratios"] == {"theirs": [0.5, 0.75], "PyTorch": [1.0, 3.0]}
    assert first["medians"]["ours"] == 2.0 and first["details"] == {"more": 1}
    assert written["suite"] == "startup" and written["options"]["rounds"] == 7
    assert written["versions"]["jax"] and written["versions"]["torch"] == "torch's"
    assert written["devices"]["kind"] and written["processors"] >= 1


def test_a_failure_is_told_without_a_traceback(monkeypatch, capsys):
    def fail(options, console):
        raise SideFailed("it has failed")

    monkeypatch.setattr(startup, "measure", fail)
    with pytest.raises(SystemExit, match="2"):
        command.main(["startup"])
    assert "error: it has failed" in capsys.readouterr().out


@pytest.mark.parametrize("suite", command.SUITES)
def test_every_suite_says_what_it_measures(suite, capsys):
    with pytest.raises(SystemExit, match="0"):
        command.main([suite, "--help"])
    shown = capsys.readouterr().out
    assert "--rounds" in shown and "--output" in shown


def test_the_command_knows_its_suites(capsys):
    with pytest.raises(SystemExit, match="0"):
        command.main(["--help"])
    shown = capsys.readouterr().out
    assert all(suite in shown for suite in command.COMMANDS)


def test_no_rounds_are_no_measurement(capsys):
    with pytest.raises(SystemExit, match="2"):
        command.main(["startup", "--rounds", "0"])
    assert "rounds" in capsys.readouterr().out
