"""The short form of `python -m experiments.tools.damage`."""

import pytest

from experiments.tools.damage import BAD, Options, attack, table


@pytest.mark.parametrize(
    "options",
    [
        Options(("one bit flipped",), "config.json"),
        Options(("one bit flipped", "a directory"), "metrics.csv"),
        Options(("removed",), "1*/manifest.json"),
    ],
)
def test_damage_is_mended_or_refused_with_a_message(options, tmp_path):
    attempts = attack(options, tmp_path)
    assert attempts and [one for one in attempts if one.end in BAD] == []
    assert {one.end for one in attempts if one.action == "resume"} == {"as it was"}
    assert table(attempts).row_count > 1
