"""--dry-run tells what a run would need, and trains nothing."""

from pathlib import Path

import jax
import pytest

from experiments import mlp_fashion_mnist
from experiments.tools.dry_run import in_units
from experiments.tools.run import run


@pytest.fixture(autouse=True)
def jax_has_started() -> None:
    """With the devices of all tests, which a dry run would change before."""
    assert jax.device_count() == 8


def dry_run(folder: Path, *words: str) -> None:
    results = run(
        mlp_fashion_mnist.Config,
        mlp_fashion_mnist.build,
        recipes=mlp_fashion_mnist.RECIPES,
        smoke=mlp_fashion_mnist.SMOKE,
        argv=["--smoke", "--workdir", str(folder), *words],
    )
    assert results == {}
    assert not any(folder.iterdir())


def test_it_prints_memory_operations_and_traffic(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    dry_run(tmp_path, "--loss", "softmax", "--dry-run", "4", "--parallel", "fsdp")
    printed = " ".join(capsys.readouterr().out.split())
    assert "on 4 devices (fsdp, compiled for cpu)" in printed
    for row in ("memory", "temporary arrays", "GFLOP", "x all-reduce"):
        assert row in printed


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--dry-run", "7"], "cannot be divided over 7 devices; take a multiple of 7"),
        (["--dry-run", "64"], "JAX has started with 8; begin in a new process"),
        (["--dry-run", "-1"], "dry_run"),
        (["--dry-run", "4", "--sweep.learning-rate", "0.1", "0.2"], "leave out --sweep"),
        (["--dry-run", "4", "--parallel", "pmap"], "use --parallel jit or fsdp"),
    ],
)
def test_what_cannot_be_compiled_is_said(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], words: list[str], message: str
) -> None:
    with pytest.raises(SystemExit):
        dry_run(tmp_path, *words)
    captured = capsys.readouterr()
    assert message in " ".join((captured.out + captured.err).split())


def test_bytes_in_units() -> None:
    numbers = (999, 1000, 12_345_678, 2e16)
    assert [in_units(one) for one in numbers] == ["999 B", "1.0 kB", "12.3 MB", "20.0 PB"]
