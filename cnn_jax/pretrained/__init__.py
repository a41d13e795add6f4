"""Public weights for our models, and conversion of PyTorch's state dicts in both directions."""

from cnn_jax.imagenet import imagenet_classes
from cnn_jax.pretrained.catalog import Weights, find_weights, list_weights
from cnn_jax.pretrained.channels import change_channels
from cnn_jax.pretrained.classes import change_num_classes
from cnn_jax.pretrained.convert import from_torch, to_torch
from cnn_jax.pretrained.load import load
from cnn_jax.pretrained.network import Network
from cnn_jax.pretrained.preprocessing import Preprocessing
from cnn_jax.pretrained.whole_image import BySides, OnCanvas

__all__ = [
    "BySides",
    "Network",
    "OnCanvas",
    "Preprocessing",
    "Weights",
    "change_channels",
    "change_num_classes",
    "find_weights",
    "from_torch",
    "imagenet_classes",
    "list_weights",
    "load",
    "to_torch",
]
