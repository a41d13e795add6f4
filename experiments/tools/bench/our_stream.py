"""Our side of reading a folder of images: Grain decodes and crops, the device does the rest."""

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
from cnn_jax.training import make_parallel, make_preprocess
from experiments.tools.bench import ours
from experiments.tools.bench.side import RunSteps


def batches(*, folder: str, image_size: int, batch_size: int, workers: int) -> RunSteps:
    """Preprocessed training batches on the device."""
    ours.set_up()
    config = DataConfig(
        name=folder,
        image_size=image_size,
        storage="stream",
        validation="none",
        test="none",
        workers=workers,
    )
    dataset = load_dataset(config, default="digits", augment=[random_resized_crop(), random_flip()])
    split, parallel = dataset.splits["train"], make_parallel("jit")
    assert isinstance(split, StreamSplit) and split.random_crop is not None
    preprocess = make_preprocess(dataset)
    preprocessed = parallel.compile(lambda batch, key: preprocess(batch, key, True), batch=0)
    stream = stream_batches(split, seed=0, batch_size=batch_size)
    key, shape = jax.random.key(0), (batch_size, image_size, image_size, 3)

    def run(n: int) -> list[float]:
        batch: dict[str, Any] = {}
        for _ in range(n):
            batch = preprocessed(parallel.place_batch(next(stream)), key)
            jax.block_until_ready(batch)
            assert batch["image"].shape == shape
        return [float(batch["image"].mean()), float(batch["image"].std())]

    return run
