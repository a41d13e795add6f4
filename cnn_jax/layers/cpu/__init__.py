"""Convolution and its derivatives on CPUs.

`convolution` selects what is fastest: oneDNN if the extra `cpu` is installed, otherwise XLA. With
XLA, kernel gradients are computed by Winograd's filtering or by products of matrices where these
are faster than its convolution.
"""

from cnn_jax.layers.cpu import onednn
from cnn_jax.layers.cpu.convolution import convolve, kernel_gradient, spread

__all__ = ["convolve", "kernel_gradient", "onednn", "spread"]
