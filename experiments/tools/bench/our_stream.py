"""Our program that reads a folder of images: Grain decodes and crops, the device does the rest."""

from typing import Any

import jax

from cnn_jax.data import (
    DataConfig,
    StreamSplit,
    load_dataset,
    random_flip,
    random_resized_crop,
    stream_batches,
)
from cnn_jax.training import make_parallel, make_prepare
from experiments.tools.bench import ours
from experiments.tools.bench.program import Run


def batches(*, folder: str, image_size: int, batch_size: int, workers: int) -> Run:
    """Batches as the training step sees them, ready on the device."""
    ours.set_up()
    config = DataConfig(
        name=folder, image_size=image_size, storage="stream", validation="none", test="none"
    )
    dataset = load_dataset(config, default="digits", augment=[random_resized_crop(), random_flip()])
    split, parallel = dataset.splits["train"], make_parallel("jit")
    assert isinstance(split, StreamSplit) and split.random_crop is not None
    prepare = make_prepare(dataset)
    prepared = parallel.compile(lambda batch, key: prepare(batch, key, True), batch=0)
    stream = stream_batches(split, seed=0, batch_size=batch_size, workers=workers)
    key, shape = jax.random.key(0), (batch_size, image_size, image_size, 3)

    def run(n: int) -> list[float]:
        batch: dict[str, Any] = {}
        for _ in range(n):
            batch = prepared(parallel.place_batch(next(stream)), key)
            jax.block_until_ready(batch)
            assert batch["image"].shape == shape
        return [float(batch["image"].mean()), float(batch["image"].std())]

    return run
