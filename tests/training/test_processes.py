"""Processes of a job: one that fails does not wait for the others."""

from tests.launch.test_local import run_locally

FAILING = """
import time
import jax
from cnn_jax.training import initialize_processes, leaving_soon
with leaving_soon(0.1):
    initialize_processes()
    if jax.process_index() == 1:
        raise ValueError("what has failed")
    time.sleep(30)
    print("has waited")
"""


def test_a_process_that_fails_ends_the_job_at_once() -> None:
    job = run_locally("--processes", "2", "--grace", "0.2", "-c", FAILING)
    assert job.returncode == 1
    assert "what has failed" in job.stderr
    assert "has waited" not in job.stdout
