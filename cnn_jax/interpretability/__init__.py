"""What a network sees in an image: pure JAX functions of a network and images.

The figures of their results are in `cnn_jax.visual`. This package does not import matplotlib.
"""

from cnn_jax.interpretability.activation_maximization import activation_maximization
from cnn_jax.interpretability.grad_cam import grad_cam
from cnn_jax.interpretability.guided_backpropagation import guided_backpropagation
from cnn_jax.interpretability.occlusion import occlusion_map
from cnn_jax.interpretability.saliency import saliency

__all__ = [
    "activation_maximization",
    "grad_cam",
    "guided_backpropagation",
    "occlusion_map",
    "saliency",
]
