"""What a GPU does in a training step: its kernels, read from a trace of JAX's profiler."""

import gzip
import json
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import jax

from experiments.tools.bench.side import Missing, RunSteps

SHOWN = 12
"""Kernels in the table of a trace, those that take longest."""


def traced(run: RunSteps, steps: int) -> dict[str, Any]:
    """Make steps under the profiler.

    Args:
        run: makes steps; they have been compiled.
        steps: number of steps.

    Returns:
        What `of_events` returns.

    Raises:
        Missing: JAX's backend is not a GPU, or the profiler recorded no kernel.
    """
    if jax.default_backend() != "gpu":
        raise Missing(f"a trace needs a GPU, and JAX computes on a {jax.default_backend()}")
    with tempfile.TemporaryDirectory(prefix="trace_") as directory:
        with jax.profiler.trace(directory):
            run(steps)
        (path,) = Path(directory).rglob("*.trace.json.gz")
        events = json.loads(gzip.decompress(path.read_bytes()))["traceEvents"]
    return of_events(events, steps)


def of_events(events: Sequence[Mapping[str, Any]], steps: int) -> dict[str, Any]:
    """The kernels of a trace.

    Args:
        events: the `traceEvents` of a trace; times in microseconds.
        steps: number of steps in the trace.

    Returns:
        busy_ms: time that kernels take in a step; span_ms: time from the first to the end of the
        last, divided by the steps; launches: kernels in a step; kernels: name, ms and launches
        in a step of each, longest first.

    Raises:
        Missing: there is no kernel.
    """
    named = [event for event in events if event.get("ph") == "M"]
    processes = {
        event["pid"]: event["args"]["name"] for event in named if event["name"] == "process_name"
    }
    threads = {
        (event["pid"], event["tid"]): event["args"]["name"]
        for event in named
        if event["name"] == "thread_name"
    }
    launched = [
        event
        for event in events
        if event.get("ph") == "X"
        and "GPU" in processes.get(event["pid"], "")
        and "Stream" in threads.get((event["pid"], event["tid"]), "")
    ]
    if not launched:
        raise Missing("the profiler recorded no kernel of a GPU")
    kernels: dict[str, list[float]] = {}
    for event in launched:
        kernels.setdefault(event["name"], []).append(event["dur"] / 1e3)
    rows = [
        {"name": name, "ms": sum(times) / steps, "launches": len(times) / steps}
        for name, times in kernels.items()
    ]
    begin = min(event["ts"] for event in launched)
    end = max(event["ts"] + event["dur"] for event in launched)
    return {
        "busy_ms": sum(row["ms"] for row in rows),
        "span_ms": (end - begin) / 1e3 / steps,
        "launches": len(launched) / steps,
        "kernels": sorted(rows, key=lambda row: -row["ms"]),
    }


def lines(trace: Mapping[str, Any]) -> list[str]:
    """What is printed of a trace: a line for the step and one for each of the longest kernels."""
    return [
        f"cnn_jax, traced: {trace['launches']:,.0f} launches a step; kernels take "
        f"{trace['busy_ms']:.3f} of {trace['span_ms']:.3f} ms",
        *(
            f"{row['ms']:9.4f} ms {row['ms'] / trace['busy_ms']:6.1%} {row['launches']:7.1f} x "
            f"{row['name'][:80]}"
            for row in trace["kernels"][:SHOWN]
        ),
    ]
