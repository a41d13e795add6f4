"""Both sides of a benchmark do the same work; nothing is asserted by a clock."""

import json

from experiments.tools import bench
from tests.tolerance import assert_close


def test_our_step_and_plain_flax_have_the_same_losses():
    sides = bench.resnet_sides(depth=8, batch_size=16, image_size=8)
    ours, plain = sides.ours(4), sides.plain(4)
    assert len(set(ours)) == 4
    assert_close(ours, plain, rtol=1e-3)


def test_pairs_run_in_turn_and_every_other_round_begins_with_the_second():
    calls = []

    def measure(name: str) -> float:
        calls.append(name)
        return float(len(calls))

    values = bench.alternately(lambda: measure("a"), lambda: measure("b"), rounds=3)
    assert "".join(calls) == "abbaab"
    assert values == ([1.0, 4.0, 5.0], [2.0, 3.0, 6.0])


def test_a_suite_prints_its_table_and_writes_json(monkeypatch, tmp_path, capsys):
    pair = bench.Pair("sums", "s", ("ours", "theirs"), ([1.0, 3.0], [2.0, 4.0]), ("a note",))
    monkeypatch.setitem(bench.SUITES, "startup", lambda options: [pair])
    bench.main(["startup", "--output", str(tmp_path / "out.json")])
    shown = capsys.readouterr().out
    assert "0.62 (0.50 to 0.75)" in shown and "a note" in shown
    written = json.loads((tmp_path / "out.json").read_text())
    assert written["pairs"][0]["ratios"] == [0.5, 0.75]
    assert written["versions"]["jax"] and written["devices"]["kind"]
