"""oneDNN's convolution and its two gradients, of float32 and bfloat16.

Each is a custom call. Over several devices, each device computes its part of the batch
(`custom_partitioning`).
"""

import ctypes
import functools
import hashlib
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.experimental.custom_partitioning import custom_partitioning
from jax.experimental.xla_metadata import set_xla_metadata
from jax.sharding import Mesh, NamedSharding
from jax.sharding import PartitionSpec as P
from jaxtyping import Array

from cnn_jax.layers.cpu.onednn.library import function, load, threads_per_call
from cnn_jax.layers.mesh_axes import partly_manual
from cnn_jax.layers.windows import Geometry

DTYPES = (jnp.float32, jnp.bfloat16)
OPERATORS = ("convolve", "spread", "kernel_gradient")


def takes(
    name: str,
    dtype: Any,
    images: tuple[Any, ...],
    kernel: tuple[Any, ...],
    outputs: tuple[Any, ...],
    geometry: Geometry,
) -> bool:
    """Whether oneDNN is loaded and has this operator for these shapes; never for symbols."""
    known = all(isinstance(size, int) and size > 0 for size in (*images, *kernel, *outputs))
    # In a partly manual mesh, JAX does not say how arguments are divided over the other axes.
    if not known or dtype not in DTYPES or partly_manual() or not load():
        return False
    return _takes(name, dtype, images, kernel, outputs, geometry)


@functools.cache
def _takes(name: str, dtype: Any, *shapes_and_geometry: Any) -> bool:
    *shapes, geometry = shapes_and_geometry
    lists = [*shapes, geometry.stride, sum(geometry.padding, ()), geometry.dilation]
    arrays = [(ctypes.c_int64 * len(values))(*values) for values in lists]
    takes = function("cnn_jax_convolution_takes")
    takes.restype = ctypes.c_bool
    numbers = ctypes.c_int64(geometry.groups), ctypes.c_bool(dtype == jnp.bfloat16)
    more = ctypes.c_int64(threads_per_call()), ctypes.c_int64(OPERATORS.index(name))
    return takes(*arrays, *numbers, *more)


def _ffi_call(name: str, a: Array, b: Array, shape: tuple[int, ...], geometry: Geometry) -> Array:
    images, kernel, outputs = {
        "convolve": (a.shape, b.shape, shape),
        "spread": (shape, b.shape, a.shape),
        "kernel_gradient": (a.shape, shape, b.shape),
    }[name]
    call = jax.ffi.ffi_call(f"cnn_jax_{name}", jax.ShapeDtypeStruct(shape, a.dtype))
    return call(
        a,
        b,
        images=np.array(images),
        kernel=np.array(kernel),
        outputs=np.array(outputs),
        stride=np.array(geometry.stride),
        padding=np.array(geometry.padding).reshape(-1),
        dilation=np.array(geometry.dilation),
        groups=np.int64(geometry.groups),
        half=np.bool_(a.dtype == jnp.bfloat16),
        threads=np.int64(threads_per_call()),
    )


@functools.cache
def _source() -> str:
    """A hash of this file, which defines how a call is divided."""
    return hashlib.sha256(Path(__file__).read_bytes()).hexdigest()[:16]


def _partitioned(name: str) -> Callable[[Array, Array, tuple[int, ...], Geometry], Array]:
    """The call, divided over devices: each computes its part of the batch.

    Outputs and images are divided like the arguments. A kernel's gradient is summed over devices.
    """

    @partial(custom_partitioning, static_argnums=(2, 3))
    def operator(a: Array, b: Array, shape: tuple[int, ...], geometry: Geometry) -> Array:
        return _ffi_call(name, a, b, shape, geometry)

    def partition(
        shape: tuple[int, ...],
        geometry: Geometry,
        mesh: Mesh,
        arguments: tuple[Any, ...],
        result: Any,
    ) -> Any:
        (batch,) = arguments[0].sharding.spec[:1] or (None,)
        divided, whole = NamedSharding(mesh, P(batch)), NamedSharding(mesh, P())
        sums = name == "kernel_gradient"

        def part(a: Array, b: Array) -> Array:
            local = shape if sums else (a.shape[0], *shape[1:])
            made = _ffi_call(name, a, b, local, geometry)
            return lax.psum(made, batch) if sums and batch else made

        return mesh, part, (whole if sums else divided), (divided, divided if sums else whole)

    if name == "kernel_gradient":
        rule = "n h w c, n i j f -> u v d f"
        operator.def_partition(
            partition,
            sharding_rule=rule,
            reduction_factors=("n",),
            need_replication_factors=tuple("hwcijfuvd"),
        )
    else:
        rule = "n h w c, u v d f -> n i j e"
        operator.def_partition(
            partition, sharding_rule=rule, need_replication_factors=tuple("hwcuvdfije")
        )
    return operator


_OPERATORS = {name: _partitioned(name) for name in OPERATORS}


def call(name: str, a: Array, b: Array, shape: tuple[int, ...], geometry: Geometry) -> Array:
    """One of the operators of two arrays: "convolve", "spread" or "kernel_gradient".

    Args:
        name: of the operator.
        a, b: its arguments, images before kernels and outputs, outputs before kernels.
        shape: of the result.
        geometry: of the convolution.
    """
    # A program for several devices refers to the function that divides the call by its address
    # alone. The compilation cache leaves addresses out of its keys and needs this in their place.
    described = f"{name} {shape} {geometry} {threads_per_call()} {_source()}"
    with set_xla_metadata(cnn_jax_call=described):
        return _OPERATORS[name](a, b, shape, geometry)
