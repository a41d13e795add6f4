"""How a step is spread over devices: one program over a mesh, or ``pmap``.

The two differ in two things only. Under ``jit`` an array of a batch is global and XLA divides
the work; under ``pmap`` each device runs the function on its own slice and sums are combined
by ``lax.psum`` over the axis ``"data"``. In both the state is replicated, so a checkpoint
knows nothing of either.
"""

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.sharding import AxisType, Mesh, NamedSharding
from jax.sharding import PartitionSpec as P
from jaxtyping import Array, Int, PyTree

from cnn_jax.errors import ConfigError

AXIS = "data"
Mode = Literal["auto", "jit", "pmap"]


@dataclass(frozen=True)
class Parallel:
    """A way to run pure functions on all devices."""

    mode: Literal["jit", "pmap"]
    mesh: Mesh

    @property
    def axis_name(self) -> str | None:
        """The mapped axis that sums must be combined over; None where arrays are global."""
        return AXIS if self.mode == "pmap" else None

    @property
    def num_devices(self) -> int:
        """Number of devices over all processes."""
        return self.mesh.size

    @property
    def compiled_chunks(self) -> bool:
        """Whether many steps run as one compiled loop.

        Not on several CPU devices, whose sums must be made in one order on all: see
        `layers.correlation`.
        """
        return self.num_devices == 1 or self.mesh.devices.flat[0].platform != "cpu"

    def check_batch(self, batch_size: int, accumulate: int = 1) -> None:
        """Raise ConfigError for a batch that cannot be divided evenly."""
        parts = self.num_devices * accumulate
        if batch_size % parts:
            cut = f"{self.num_devices} devices"
            cut += f" x {accumulate} accumulated micro-batches" if accumulate > 1 else ""
            lower, upper = batch_size // parts * parts, (batch_size // parts + 1) * parts
            raise ConfigError(
                f"batch size {batch_size} cannot be divided over {cut}; "
                f"take a multiple of {parts}, such as {lower or upper} or {upper}"
            )

    def slots(self, batch_size: int) -> Int[Array, " local"]:
        """The places in the global batch that this program works on."""
        if self.mode == "jit":
            return lax.with_sharding_constraint(
                jnp.arange(batch_size), NamedSharding(self.mesh, P(AXIS))
            )
        size = batch_size // self.num_devices
        return lax.axis_index(AXIS) * size + jnp.arange(size)

    def compile(
        self, function: Callable, *, donate: tuple[int, ...] = (), batch: int | None = None
    ) -> Callable:
        """Compile a function of replicated arguments that gives replicated results.

        Args:
            function: pure; under ``pmap`` it combines what its devices compute by itself.
            donate: positions of the arguments whose memory the results may take.
            batch: position of the one argument made by ``place_batch``, if there is one.
        """
        replicated = NamedSharding(self.mesh, P())
        if self.mode == "jit":
            return jax.jit(function, donate_argnums=donate, out_shardings=replicated)

        # pmap wants a mapped argument; the devices' own numbers are one that is always there.
        local = np.arange(jax.local_device_count())
        mapped: Callable | None = None

        def call(*args: Any) -> Any:
            nonlocal mapped
            if mapped is None:
                axes = (0, *(0 if i == batch else None for i in range(len(args))))
                mapped = jax.pmap(
                    lambda _, *inner: function(*inner),
                    axis_name=AXIS,
                    in_axes=axes,
                    out_axes=None,
                    donate_argnums=tuple(i + 1 for i in donate),
                )
            results = mapped(local, *args)
            # Of several processes each has got arrays on its own devices only.
            return jax.tree.map(self._joined, results) if jax.process_count() > 1 else results

        return call

    def _joined(self, leaf: Array) -> Array:
        """The array on all devices of which each process holds its own devices' copies."""
        if jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key):
            data = self._joined(jax.random.key_data(leaf))
            return jax.random.wrap_key_data(data, impl=jax.random.key_impl(leaf))
        copies = [shard.data for shard in leaf.addressable_shards]
        sharding = NamedSharding(self.mesh, P())
        return jax.make_array_from_single_device_arrays(leaf.shape, sharding, copies)

    def replicate(self, tree: PyTree) -> PyTree:
        """Put a tree of host arrays, equal in every process, whole on every device."""
        return jax.tree.map(self._replicate_leaf, tree)

    def _replicate_leaf(self, leaf: Any) -> Array:
        sharding = NamedSharding(self.mesh, P())
        if isinstance(leaf, jax.Array) and jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key):
            data = self._replicate_leaf(jax.random.key_data(leaf))
            return jax.random.wrap_key_data(data, impl=jax.random.key_impl(leaf))
        host = np.asarray(leaf)
        return jax.make_array_from_callback(host.shape, sharding, lambda index: host[index])

    def place_batch(self, batch: Mapping[str, Any]) -> dict[str, Any]:
        """Put this process's part of a batch on its devices."""
        if self.mode == "jit":
            sharding = NamedSharding(self.mesh, P(AXIS))
            return {
                name: jax.make_array_from_process_local_data(sharding, array)
                for name, array in batch.items()
            }
        local = jax.local_device_count()
        return {
            name: array.reshape(local, array.shape[0] // local, *array.shape[1:])
            for name, array in batch.items()
        }


def make_parallel(mode: Mode = "auto") -> Parallel:
    """All devices of all processes under one axis; ``auto`` is ``jit``."""
    mesh = jax.make_mesh((jax.device_count(),), (AXIS,), axis_types=(AxisType.Auto,))
    return Parallel(mode="pmap" if mode == "pmap" else "jit", mesh=mesh)


def initialize_processes() -> None:
    """Join the other processes of the job, where there are any.

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
