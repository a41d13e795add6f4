"""The short form of `python -m experiments.tools.kill_and_resume`."""

from experiments.tools.kill_and_resume import Options, kill_and_resume


def test_a_training_that_is_killed_is_the_uninterrupted_one_to_the_bit(tmp_path, monkeypatch):
    # On one device a process is there sooner.
    monkeypatch.setenv("XLA_FLAGS", "")
    kills, differences = kill_and_resume(Options(kills=2, steps=150), tmp_path)
    assert differences == []
    # The first is aimed at a save, and the last row shows that it came in the middle of the run.
    assert kills[0].hit == "save" and 0 < kills[0].step < 150
