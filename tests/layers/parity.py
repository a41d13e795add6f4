"""An operator is declared once and compared twice: with a record of PyTorch, and with PyTorch.

Both comparisons draw random cases, and compare the output and the gradient of every floating
input, of the sum of output times a fixed random array.
"""

import json
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np

from tests.references.weights import digest

RECORDS = Path(__file__).parents[1] / "references" / "operators"
RECORDED_CASES = 6


class Draw:
    """Random numbers of a case, all from `integer(low, high)`, both ends included.

    hypothesis gives it for the live comparison, a seeded numpy generator for the recorded one.
    """

    def __init__(self, integer):
        self.integer = integer
        self._arrays = 0

    def pair(self, low, high):
        return self.integer(low, high), self.integer(low, high)

    def choice(self, sequence):
        return sequence[self.integer(0, len(sequence) - 1)]

    def boolean(self):
        return self.choice((False, True))

    def array(self, *shape):
        """Standard normal float64; those of one case differ even where their seeds are equal."""
        self._arrays += 1
        seed = self.integer(0, 2**32 - 1)
        return np.random.default_rng([seed, self._arrays]).standard_normal(shape)


@dataclass(frozen=True)
class Operator:
    """One of our functions, PyTorch's, and the cases that they are compared in.

    Attributes:
        name: unique in its table.
        sample: inputs (float64 or integer arrays, in our layout) and keyword settings of a case.
        ours: `ours(*inputs, **settings)` gives a floating array.
        torch: the same of PyTorch's tensors, with the input and output in our layout; imports
            torch itself.
    """

    name: str
    sample: Callable[[Draw], tuple[tuple[np.ndarray, ...], dict]]
    ours: Callable
    torch: Callable


def to_nchw(x):
    """PyTorch's layout of one of our images."""
    return _with_plain_strides(x.permute(0, 3, 1, 2))


def to_nhwc(x):
    """Our layout of one of PyTorch's images."""
    return x.permute(0, 2, 3, 1)


def to_oihw(kernel):
    """PyTorch's layout of one of our kernels."""
    return _with_plain_strides(kernel.permute(3, 2, 0, 1))


def _with_plain_strides(tensor):
    """A copy. `contiguous()` leaves an image of one channel as it is, with strides of both layouts.

    oneDNN, below PyTorch 2.13, then reads beyond its end, and now and then the process dies.
    """
    import torch

    return tensor.clone(memory_format=torch.contiguous_format)


def recorded_case(operator, number):
    """Inputs and settings of one of the cases 0 … RECORDED_CASES - 1, alike everywhere."""
    generator = np.random.default_rng([zlib.crc32(operator.name.encode()), number])
    return operator.sample(Draw(partial(_integer, generator)))


def _integer(generator, low, high):
    return int(generator.integers(low, high, endpoint=True))


def our_result(operator, inputs, settings, dtype=np.float64):
    """Output and gradients of our function, as arrays by name."""

    @jax.jit
    def value_and_gradients(inputs):
        output, pullback = jax.vjp(partial(operator.ours, **settings), *inputs)
        gradients = pullback(jnp.asarray(_cotangent(output.shape, dtype)))
        return output, [g for g in gradients if g.dtype != jax.dtypes.float0]

    with jax.enable_x64(dtype == np.float64):
        output, gradients = value_and_gradients(_cast(inputs, dtype))
    assert output.dtype == dtype, f"{operator.name} gives {output.dtype} for {dtype.__name__}"
    return _named(output, gradients)


def torch_result(operator, inputs, settings, dtype=np.float64):
    """Output and gradients of PyTorch's function, as arrays by name."""
    import torch

    tensors = [torch.tensor(a, requires_grad=a.dtype == dtype) for a in _cast(inputs, dtype)]
    leaves = [t for t in tensors if t.requires_grad]
    output = operator.torch(*tensors, **settings)
    gradients = [None] * len(leaves)
    if output.requires_grad:  # it does not where the derivative is zero everywhere
        cotangent = torch.tensor(_cotangent(output.shape, dtype))
        gradients = torch.autograd.grad(output, leaves, cotangent, allow_unused=True)
    return _named(
        output.detach(),
        [torch.zeros_like(t) if g is None else g for t, g in zip(leaves, gradients, strict=True)],
    )


def _cast(inputs, dtype):
    floating = [np.issubdtype(a.dtype, np.floating) for a in inputs]
    return [a.astype(dtype) if f else a for a, f in zip(inputs, floating, strict=True)]


def _cotangent(shape, dtype):
    return np.random.default_rng(0).standard_normal(tuple(shape)).astype(dtype)


def _named(output, gradients):
    named = {f"gradient of input {i}": np.asarray(g) for i, g in enumerate(gradients)}
    return {"output": np.asarray(output), **named}


def record(subject, table):
    """Writes what PyTorch gives for the recorded cases of a subject's operators."""
    lines = []
    for operator in table:
        cases = [
            {k: digest(v) for k, v in torch_result(operator, *recorded_case(operator, i)).items()}
            for i in range(RECORDED_CASES)
        ]
        text = ",\n".join(f"  {json.dumps(case)}" for case in cases)
        lines.append(f" {json.dumps(operator.name)}: [\n{text}\n ]")
    (RECORDS / f"{subject}.json").write_text("{\n" + ",\n".join(lines) + "\n}\n")


def read_record(subject):
    """By operator, the digests of output and gradients of every case."""
    path = RECORDS / f"{subject}.json"
    return json.loads(path.read_text()) if path.exists() else {}
