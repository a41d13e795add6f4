"""The processes of a job: how they find each other, and which one writes."""

import os
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import jax


def initialize_processes() -> None:
    """Join the other processes of the job, if there are any.

    A job of several processes is recognised by what JAX itself detects (Slurm, TPU pods,
    Kubernetes) when ``CNN_JAX_DISTRIBUTED=1``, or by ``JAX_COORDINATOR_ADDRESS``,
    ``JAX_NUM_PROCESSES`` and ``JAX_PROCESS_ID``, which ``python -m launch.local`` sets.
    """
    address = os.environ.get("JAX_COORDINATOR_ADDRESS")
    if address:
        jax.distributed.initialize(
            coordinator_address=address,
            num_processes=int(os.environ["JAX_NUM_PROCESSES"]),
            process_id=int(os.environ["JAX_PROCESS_ID"]),
        )
    elif os.environ.get("CNN_JAX_DISTRIBUTED") == "1":
        jax.distributed.initialize()


@contextmanager
def leaving_soon(grace: float = 10.0) -> Iterator[None]:
    """Let a process that fails inside of it end soon, so that its launcher can end the others.

    At the exit JAX waits minutes for the other processes of a job, which may be waiting for this
    one. All processes that fail together still leave together.

    Args:
        grace: seconds until this process ends itself.
    """
    try:
        yield
    except BaseException as error:
        if jax.distributed.is_initialized():
            status = error.code if isinstance(error, SystemExit) else 1
            timer = threading.Timer(grace, _leave, (status if isinstance(status, int) else 1,))
            timer.daemon = True
            timer.start()
        raise


def _leave(status: int) -> None:
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status)


def is_primary() -> bool:
    """Whether this process writes files and talks to the user."""
    return jax.process_index() == 0
