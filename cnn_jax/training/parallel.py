"""How a step is spread over devices: one program over a mesh, or ``pmap``.

Under ``jit`` the arrays of a batch are global and XLA divides the work. ``fsdp`` (fully sharded
data parallelism) is the same, but each device keeps only a piece of parameters and optimizer state:
a step gathers the parameters, and each device updates its piece. Under ``pmap`` each device runs
the function on its own part of the batch, and sums are combined by ``lax.psum``
(`training.mapped`). How the state lies on the devices is said by `training.placement` for all, so
a checkpoint knows nothing of them.
"""

from collections.abc import Callable, Mapping, Sequence
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
from cnn_jax.training.placement import AXIS, shardings
from cnn_jax.training.state import TrainState

Mode = Literal["auto", "jit", "fsdp", "pmap"]


@dataclass(frozen=True)
class Parallel:
    """A way to run pure functions on all devices."""

    mode: Literal["jit", "fsdp", "pmap"]
    mesh: Mesh

    @property
    def num_devices(self) -> int:
        """Number of devices over all processes."""
        return self.mesh.size

    @property
    def compiled_chunks(self) -> bool:
        """Whether many steps run as one compiled loop.

        Not on several CPU devices: inside of a loop their sums have no fixed order, and devices
        wait for each other.
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

    def check_state(self, state: Any) -> None:
        """Raise ConfigError for a state that cannot be spread this way."""
        if self.mode == "pmap" and jax.tree.leaves(state.carry):
            raise ConfigError(
                "--parallel pmap replicates the whole state, and carried state is divided as the "
                "batch is; use --parallel jit"
            )

    def slots(self, batch_size: int) -> Int[Array, " local"]:
        """The places in the global batch that this program works on."""
        if self.mode != "pmap":
            return lax.with_sharding_constraint(
                jnp.arange(batch_size), NamedSharding(self.mesh, P(AXIS))
            )
        size = batch_size // self.num_devices
        return lax.axis_index(AXIS) * size + jnp.arange(size)

    def compile(
        self, function: Callable, *, donate: tuple[int, ...] = (), batch: int | None = None
    ) -> Callable:
        """Compile a function whose results lie on the devices as `training.placement` says.

        Args:
            function: pure; under ``pmap`` it combines what its devices compute by itself.
            donate: positions of the arguments whose memory the results may take.
            batch: position of the one argument made by ``place_batch``, if there is one.
        """
        if self.mode != "pmap":
            return jax.jit(lambda *args: self.laid(function(*args)), donate_argnums=donate)

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
            # With several processes each has arrays on its own devices only.
            return jax.tree.map(self._joined, results) if jax.process_count() > 1 else results

        return call

    def _joined(self, leaf: Array) -> Array:
        """The array on all devices, of which each process holds its own devices' copies."""
        if jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key):
            data = self._joined(jax.random.key_data(leaf))
            return jax.random.wrap_key_data(data, impl=jax.random.key_impl(leaf))
        copies = [shard.data for shard in leaf.addressable_shards]
        sharding = NamedSharding(self.mesh, P())
        return jax.make_array_from_single_device_arrays(leaf.shape, sharding, copies)

    def place(self, tree: PyTree) -> PyTree:
        """Put a tree of host arrays, equal in every process, on the devices."""
        return jax.tree.map(_placed, tree, self._shardings(tree))

    def abstract(self, tree: PyTree) -> PyTree:
        """Shapes of arrays as `place` would put them on the devices, for compilation alone."""
        return jax.tree.map(
            lambda leaf, sharding: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=sharding),
            tree,
            self._shardings(tree),
        )

    def laid(self, tree: PyTree) -> PyTree:
        """A tree that is computed inside of a compiled function, to lie as `place` puts it."""
        if self.mode == "pmap":
            return tree
        return lax.with_sharding_constraint(tree, self._shardings(tree))

    def whole(self, state: TrainState, *parts: str) -> TrainState:
        """The state with whole parameters on every device, as a computation uses them.

        Args:
            state: on the devices, or inside of a compiled function.
            parts: what is made whole; nothing is "params" and "ema".
        """
        if self.mode != "fsdp":
            return state
        divided = {name: getattr(state, name) for name in parts or ("params", "ema")}
        return state.replace(**lax.with_sharding_constraint(divided, NamedSharding(self.mesh, P())))

    def _shardings(self, tree: PyTree) -> PyTree:
        return shardings(tree, self.mesh, divided=self.mode == "fsdp")

    def place_batch(self, batch: Mapping[str, Any]) -> dict[str, Any]:
        """Put this process's part of a batch on its devices."""
        if self.mode != "pmap":
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


def _placed(leaf: Any, sharding: NamedSharding) -> Array:
    if isinstance(leaf, jax.Array) and jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key):
        data = _placed(jax.random.key_data(leaf), sharding)
        return jax.random.wrap_key_data(data, impl=jax.random.key_impl(leaf))
    host = np.asarray(leaf)
    return jax.make_array_from_callback(host.shape, sharding, lambda index: host[index])


def make_parallel(mode: Mode = "auto", devices: Sequence[jax.Device] | None = None) -> Parallel:
    """All devices of all processes, or the given ones, under one axis; ``auto`` is ``jit``."""
    count = jax.device_count() if devices is None else len(devices)
    mesh = jax.make_mesh((count,), (AXIS,), axis_types=(AxisType.Auto,), devices=devices)
    return Parallel(mode="jit" if mode == "auto" else mode, mesh=mesh)
