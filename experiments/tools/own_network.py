r"""A small VGG that we have trained on CIFAR-10, for style transfer where VGG-19 cannot be had.

Its weights lie beside this file, in half precision. They are of a short training, of 320 steps and
58.1% accuracy on 1,000 images that it has not seen, by these commands:

    python -m experiments.train --model cifar_vgg9 --data.name cifar10 --data.test none \
        --data.validation 'test[:1000]' --optimizer.learning-rate 4e-3 \
        --training.duration '320 steps' --name style
    python -m experiments.tools.own_network runs/train/style
"""

import sys
from pathlib import Path

import numpy as np

from cnn_jax.models import create_model
from cnn_jax.pretrained import Network, Preprocessing, from_torch, to_torch
from cnn_jax.saved_run import load_run

MODEL = "cifar_vgg9"
FILE = Path(__file__).with_name(f"{MODEL}.safetensors")
MEAN, STD = (0.4914, 0.4821, 0.4464), (0.2470, 0.2435, 0.2616)
"""Of CIFAR-10's training images."""


def own_network() -> Network:
    """The network, with its weights."""
    model = create_model(MODEL)
    return Network(
        model=model,
        variables=from_torch(model, FILE, (32, 32, 3)),
        preprocessing=Preprocessing(0, 0, MEAN, STD),
        class_names=(),
        title="our own small VGG, trained on CIFAR-10",
    )


def write(run: str, file: Path = FILE) -> None:
    """Write the weights of a run."""
    from safetensors.numpy import save_file

    network = load_run(run)
    state = to_torch(network.model, network.variables)
    halves = {
        name: value.astype(np.float16)
        for name, value in state.items()
        if not name.endswith("num_batches_tracked")
    }
    save_file(halves, file)


if __name__ == "__main__":
    write(sys.argv[1])
