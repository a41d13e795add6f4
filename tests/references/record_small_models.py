"""Records SimpleCNN and ConvAutoencoder as PyTorch computes them.

python -m tests.references.record_small_models; needs torch. Writes simple_cnn_*.json and
conv_autoencoder_*.json beside this file: shape, norm and eight values of outputs and gradients.
"""

from cnn_jax.models import ConvAutoencoder, SimpleCNN
from tests.references.records import write_record
from tests.references.small_models import (
    AUTOENCODER,
    AUTOENCODER_IMAGES,
    CNN,
    CNN_IMAGES,
    drawn_params,
    torch_cnn,
    torch_conv_autoencoder,
)


def main():
    for norm in ("none", "batch"):
        params = drawn_params(SimpleCNN(**CNN, norm=norm), CNN_IMAGES.shape[1:])
        write_record(f"simple_cnn_{norm}", torch_cnn(params))
    for name, tied in (("own", False), ("tied", True)):
        model = ConvAutoencoder(**AUTOENCODER, tied=tied)
        params = drawn_params(model, AUTOENCODER_IMAGES.shape[1:])
        write_record(f"conv_autoencoder_{name}", torch_conv_autoencoder(params))


if __name__ == "__main__":
    main()
