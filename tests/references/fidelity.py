"""The network and the scores of torch-fidelity, if it is installed (`pip install torch-fidelity`).

`python -m tests.references.record_fid` records them.
"""

import os
import tempfile
from unittest import mock

import numpy as np

from tests.references.torchvision_models import import_torchvision

CASES = {"shrunk": ((120, 150), 107), "stretched": ((32, 45), 299), "as it is": ((299, 299), 299)}
"""Height and width of the images, and the size that the network sees."""
BATCH = 2


def import_fidelity():
    """The package torch_fidelity; raises ImportError where it or torchvision is not there."""
    import_torchvision()
    import torch_fidelity

    return torch_fidelity


def pixels(size):
    """Images [BATCH, height, width, 3] of bytes."""
    return np.random.default_rng(0).integers(0, 256, (BATCH, *size, 3), dtype=np.uint8)


def reference(state_dict, images, size):
    """What torch-fidelity's network makes of images, in float64 and PyTorch's layout.

    Args:
        state_dict: arrays by PyTorch's names, all of the network's and no others.
        images: uint8 [batch, height, width, 3].
        size: that the network resizes them to; its own is 299.

    Returns:
        A dict of numpy arrays: `input` after resizing, `features/…` by our names of the maps,
        `pooled`, which FID compares, and `logits`, whose bias the Inception Score leaves out.
    """
    import torch
    from torch_fidelity.feature_extractor_inceptionv3 import FeatureExtractorInceptionV3

    from tests.references.classifiers import INCEPTION

    state = {name: torch.tensor(value) for name, value in state_dict.items()}
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, "weights.pth")
        torch.save(state, path)
        network = FeatureExtractorInceptionV3(
            "inception", ["logits"], feature_extractor_weights_path=path
        )
    # With feature_extractor_internal_dtype="float64", version 0.4.0 computes in float32.
    network.feature_extractor_internal_dtype = torch.float64
    network.double().load_state_dict(state)
    arrays = {}

    def keep(name):
        return lambda module, inputs, output: arrays.__setitem__(name, output)

    first = network.Conv2d_1a_3x3
    first.register_forward_pre_hook(lambda module, inputs: arrays.update(input=inputs[0]))
    for name, module in INCEPTION.items():
        network.get_submodule(module).register_forward_hook(keep(f"features/{name}"))
    network.AvgPool.register_forward_hook(keep("pooled"))
    network.fc.register_forward_hook(keep("logits"))
    with mock.patch.object(FeatureExtractorInceptionV3, "INPUT_IMAGE_SIZE", size):
        network(torch.tensor(images.transpose(0, 3, 1, 2)))
    arrays["pooled"] = arrays["pooled"].flatten(1)
    return {name: value.numpy() for name, value in arrays.items()}


def drawn_features(number, size):
    """Features of real images, those of generated ones, and logits of the latter."""
    generator = np.random.default_rng(0)
    mixed = generator.standard_normal((size, size))
    real, fake = generator.standard_normal((2, number, size)) @ mixed
    return real, 0.8 * fake + 0.3, 2 * generator.standard_normal((number, 12))


SCORED = {"many": (505, 16), "few": (64, 100)}
"""Images and features; 505 are no multiple of ten parts, and few images have a singular
covariance."""


def scores(number, size):
    """The scores of `drawn_features` by torch-fidelity."""
    import torch
    from torch_fidelity.metric_fid import fid_features_to_statistics, fid_statistics_to_metric
    from torch_fidelity.metric_isc import isc_features_to_metric
    from torch_fidelity.metric_prc import prc_features_to_metric

    real, fake, logits = map(torch.tensor, drawn_features(number, size))
    statistics = [fid_features_to_statistics(features) for features in (fake, real)]
    of_logits = isc_features_to_metric(logits)
    of_balls = prc_features_to_metric(fake, real, verbose=False)
    return {
        "fid": fid_statistics_to_metric(*statistics, False)["frechet_inception_distance"],
        "inception_score": of_logits["inception_score_mean"],
        "inception_score_deviation": of_logits["inception_score_std"],
        "precision": of_balls["precision"],
        "recall": of_balls["recall"],
    }
