"""Convolution and its derivatives on CPUs, as fast as they can be had there.

`convolution` chooses who computes: oneDNN where the extra `cpu` is installed, otherwise XLA, which
takes kernel gradients by Winograd's filtering or by products of matrices where these are faster
than its convolution.
"""

from cnn_jax.layers.cpu.convolution import convolve, kernel_gradient, spread

__all__ = ["convolve", "kernel_gradient", "spread"]
