"""Architectures, one family a file, created by name or by their classes."""

from cnn_jax.models.autoencoder import Autoencoder, EncoderClassifier
from cnn_jax.models.conv_autoencoder import ConvAutoencoder
from cnn_jax.models.googlenet import GoogLeNet
from cnn_jax.models.mlp import MLP
from cnn_jax.models.registry import create_model, list_models
from cnn_jax.models.resnet import ResNet, cifar_resnet
from cnn_jax.models.simple_cnn import SimpleCNN

__all__ = [
    "MLP",
    "Autoencoder",
    "ConvAutoencoder",
    "EncoderClassifier",
    "GoogLeNet",
    "ResNet",
    "SimpleCNN",
    "cifar_resnet",
    "create_model",
    "list_models",
]
