"""The processes of a job agree on what they train, and on how it is computed."""

import socket
from typing import Any
from zlib import crc32

import numpy as np
from jax.experimental import multihost_utils

from cnn_jax.errors import ConfigError
from cnn_jax.layers.cpu import onednn
from experiments.tools.environment import environment
from experiments.tools.run_directory import default_name


def check_agreement(identity: dict[str, Any]) -> None:
    """Check that the processes of a job train and compile the same; all of them call it.

    Args:
        identity: what `run_directory.identity` says of the run, with its networks.

    Raises:
        ConfigError: they differ in configuration, data, versions or operators.
    """
    installed = environment()["versions"]
    versions = ", ".join(f"{name} {version}" for name, version in installed.items())
    numbers = [
        int(default_name(identity), 16),
        crc32(versions.encode()),
        onednn.load(),
    ]
    mine = np.array(numbers, np.uint32)
    gathered = multihost_utils.process_allgather(mine).reshape(-1, mine.size)
    same_run, same_versions, same_convolutions = np.all(gathered == mine, axis=0)
    if not same_run:
        raise ConfigError(
            "the processes of this job differ in configuration or data (this one has "
            f"{identity['data']['title']}): give all of them the same command, and name the "
            "data with --data.name"
        )
    if not same_versions:
        raise ConfigError(
            f"the processes of this job have different versions (this one {versions}, on "
            f"{socket.gethostname()}): install the same on all of their machines"
        )
    if not same_convolutions:
        raise ConfigError(
            "the processes of this job would run different programs (this one computes "
            f"{onednn.status()}): install the same extras and a C++ compiler on all of their "
            f"machines, or give all of them {onednn.SWITCH}=0"
        )
