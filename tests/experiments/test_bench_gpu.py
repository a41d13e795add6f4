"""What a GPU does, read from a trace; and the parts of `bench gpu`, in turn and with limits."""

import json
import sys

import pytest
from rich.console import Console

from experiments.tools.bench import command, gpu
from experiments.tools.bench.side import Missing
from experiments.tools.bench.trace import lines, of_events, traced


def launch(name: str, start: float, length: float, thread: int = 7) -> dict:
    return {"ph": "X", "pid": 1, "tid": thread, "name": name, "ts": start, "dur": length}


NAMES = [
    {"ph": "M", "pid": 1, "name": "process_name", "args": {"name": "/device:GPU:0"}},
    {"ph": "M", "pid": 1, "tid": 7, "name": "thread_name", "args": {"name": "Stream #7"}},
    {"ph": "M", "pid": 1, "tid": 8, "name": "thread_name", "args": {"name": "XLA Ops"}},
]


def test_kernels_of_a_trace():
    events = [
        *NAMES,
        launch("gemm", 1000.0, 2000.0),
        launch("add", 3000.0, 500.0),
        launch("gemm", 5000.0, 3000.0),
        launch("add", 8000.0, 1000.0),
        launch("the same by another name", 1000.0, 9000.0, thread=8),
    ]
    trace = of_events(events, steps=2)
    assert trace["busy_ms"] == 3.25 and trace["span_ms"] == 4.0 and trace["launches"] == 2.0
    assert trace["kernels"] == [
        {"name": "gemm", "ms": 2.5, "launches": 1.0},
        {"name": "add", "ms": 0.75, "launches": 1.0},
    ]
    first, gemm, _ = lines(trace)
    assert first == "cnn_jax, traced: 2 launches a step; kernels take 3.250 of 4.000 ms"
    assert "2.5000 ms  76.9%     1.0 x gemm" in gemm


def test_without_a_gpu_there_is_no_trace():
    with pytest.raises(Missing, match="needs a GPU, and JAX computes on a cpu"):
        traced(lambda steps: [0.0], 1)
    with pytest.raises(Missing, match="recorded no kernel"):
        of_events(NAMES, steps=1)


SCRIPTS = {
    "resnet50": "print('measured')",
    "resnet20": "raise SystemExit(3)",
    "speedrun": "import time; print('begun', flush=True); time.sleep(60)",
    "he20": "print('never')",
}


@pytest.fixture
def scripts(monkeypatch):
    """Parts that are a line of Python each, and limits of a second or two."""
    parts = {name: gpu.Part(name, "", 2.0) for name in SCRIPTS}
    monkeypatch.setattr(gpu, "PARTS", parts)
    monkeypatch.setattr(gpu, "LEAST_SECONDS", 0.5)
    monkeypatch.setattr(
        gpu, "command_of", lambda part, *_: [sys.executable, "-c", SCRIPTS[part.command]]
    )


@pytest.mark.usefixtures("scripts")
def test_parts_run_in_turn_and_each_end_is_on_disk(tmp_path):
    names = ("resnet50", "resnet20", "speedrun")
    options = gpu.Options(parts=names, output=str(tmp_path / "new"))
    gpu.run(options, Console(quiet=True))
    written = json.loads((tmp_path / "new" / "gpu.json").read_text())
    ends = [part["end"] for part in written["parts"]]
    assert ends == ["whole", "failed with status 3", "stopped at its limit"]
    assert written["parts"][2]["seconds"] < 20
    logs = [(tmp_path / "new" / f"{name}.txt").read_text() for name in names]
    assert logs == ["measured\n", "", "begun\n"]


@pytest.mark.usefixtures("scripts")
def test_what_there_is_no_time_for_is_not_begun(tmp_path, capsys):
    options = gpu.Options(minutes=0.001, parts=("he20",), output=str(tmp_path))
    (end,) = gpu.run(options, Console())
    assert end.end == "not begun" and not (tmp_path / "he20.txt").exists()
    assert "not begun" in capsys.readouterr().out


def test_commands_of_parts(tmp_path):
    options = gpu.Options(data="cifar 10.npz", small=True)
    words = gpu.command_of(gpu.PARTS["plain20"], options, tmp_path / "a b")
    assert words[:3] == [sys.executable, "-m", "experiments.resnet_cifar"]
    assert "--no-residual" in words and "--smoke" in words and f"{tmp_path}/a b/runs" in words
    assert words[words.index("--data.name") + 1].endswith("/cifar 10.npz")
    for name, part in gpu.PARTS.items():
        words = gpu.command_of(part, options, tmp_path)
        if words[2] == "experiments.bench":
            parsed = command.parse(words[3:])
            assert (parsed.steps, parsed.output) == (1, f"{tmp_path}/{name}.json")


@pytest.mark.full
def test_each_kind_of_part_runs_on_a_cpu_in_a_small_form(tmp_path):
    options = gpu.Options(
        parts=("resnet20", "speedrun", "plain20"), small=True, output=str(tmp_path)
    )
    assert [end.end for end in gpu.run(options, Console())] == ["whole"] * 3
    assert (tmp_path / "resnet20.json").exists()
