"""How much of a device's arithmetic a network's own takes: model FLOP utilization.

Source: Chowdhery et al. 2022, "PaLM", appendix B. Counted are the multiplications and additions of
convolutions and linear layers, forward and, in training, twice more for the two gradients; what is
computed beside them, or a second time, is not.
"""

import statistics
from collections.abc import Sequence
from typing import Literal

import jax

from cnn_jax.models import create_model
from cnn_jax.models.summary import summarize
from experiments.tools.bench.cases import Case
from experiments.tools.bench.options import Precision

PEAKS: dict[str, dict[Precision, float]] = {
    "NVIDIA A100": {"bfloat16": 312e12, "float32": 156e12},
    "NVIDIA H100": {"bfloat16": 989e12, "float32": 494e12},
    "NVIDIA H200": {"bfloat16": 989e12, "float32": 494e12},
}
"""FLOP/s of dense matrices by the beginning of the device's name, of NVIDIA's data sheets (SXM);
those of float32 are TensorFloat-32's."""


def utilization(
    case: Case,
    work: Literal["training", "inference"],
    precision: Precision,
    rates: Sequence[float],
    device_kind: str | None = None,
) -> str:
    """A line with the FLOP/s of a program by its images a second, and their share of the peak.

    Args:
        case: the network.
        work: what is done with an image.
        precision: of the products.
        rates: images a second.
        device_kind: JAX's name of the device; None is the first one here.
    """
    attributes = dict(case.attributes)
    if case.task == "classification":
        attributes["num_classes"] = case.num_classes
    else:
        attributes["image_shape"] = tuple(case.image_shape)
    model, *_ = summarize(create_model(case.model, **attributes), tuple(case.image_shape), depth=0)
    flops = 2 * model.macs * (3 if work == "training" else 1)
    done = statistics.median(rates) * flops
    line = f"cnn_jax: {done / 1e12:,.3g} TFLOP/s, at {flops / 1e9:,.3g} GFLOP an image"
    kind = device_kind or jax.devices()[0].device_kind
    peak = next((peaks[precision] for name, peaks in PEAKS.items() if kind.startswith(name)), None)
    return line if peak is None else f"{line}: {done / peak:.1%} of {kind}'s {peak / 1e12:,.0f}"
