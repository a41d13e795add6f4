"""Model FLOP utilization: the share of a device's arithmetic that a network needs.

Source: Chowdhery et al. 2022, "PaLM", appendix B. It counts the multiplications and additions of
convolutions and linear layers in the forward pass, and in training twice as many again for the two
gradients. Other operations and recomputation are not counted.
"""

import statistics
from collections.abc import Sequence
from typing import Literal

import jax

from cnn_jax.models import create_model
from cnn_jax.models.summary import tabulate
from experiments.tools.bench.cases import Case
from experiments.tools.bench.options import Precision

PEAKS: dict[str, dict[Precision, float]] = {
    "NVIDIA A100": {"bfloat16": 312e12, "float32": 156e12},
    "NVIDIA H100": {"bfloat16": 989e12, "float32": 494e12},
    "NVIDIA H200": {"bfloat16": 989e12, "float32": 494e12},
}
"""FLOP/s for dense matrices by the prefix of the device's name, from NVIDIA's data sheets (SXM);
float32 means TensorFloat-32."""


def utilization(
    case: Case,
    work: Literal["training", "inference"],
    precision: Precision,
    rates: Sequence[float],
    device_kind: str | None = None,
) -> str:
    """A line with the FLOP/s that our images per second need, and their share of the peak.

    Args:
        case: the network.
        work: what is done with an image.
        precision: precision of the products.
        rates: images per second.
        device_kind: JAX's name of the device; None means the first device.
    """
    attributes = dict(case.attributes)
    if case.task != "reconstruction":
        attributes["num_classes"] = case.num_classes
    else:
        attributes["image_shape"] = tuple(case.image_shape)
    model, *_ = tabulate(create_model(case.model, **attributes), tuple(case.image_shape), depth=0)
    flops = 2 * model.macs * (3 if work == "training" else 1)
    done = statistics.median(rates) * flops
    line = f"cnn_jax: {done / 1e12:,.3g} TFLOP/s, at {flops / 1e9:,.3g} GFLOP per image"
    kind = device_kind or jax.devices()[0].device_kind
    peak = next((peaks[precision] for name, peaks in PEAKS.items() if kind.startswith(name)), None)
    return line if peak is None else f"{line}: {done / peak:.1%} of {kind}'s {peak / 1e12:,.0f}"
