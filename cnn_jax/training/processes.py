"""The processes of a job: how they find each other, and which one writes."""

import os

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


def is_primary() -> bool:
    """Whether this process writes files and talks to the user."""
    return jax.process_index() == 0
