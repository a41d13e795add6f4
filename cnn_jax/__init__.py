"""A lecture on convolutional neural networks in JAX.

`cnn_jax.layers` holds the lecture's operators as pure functions, `cnn_jax.models` its
architectures as Flax modules. `tasks`, `data`, `training`, `pretrained` and `visual` are what an
experiment needs around them. `cnn_jax.load_run` loads the network that an experiment has trained.
Importing this package itself imports none of them.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from cnn_jax.saved_run import load_run

__all__ = ["load_run"]
__version__ = "0.1.0"


def __getattr__(name: str) -> Any:
    if name == "load_run":
        from cnn_jax.saved_run import load_run

        return load_run
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
