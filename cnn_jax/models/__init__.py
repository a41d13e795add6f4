"""Architectures, one family a file, created by name or by their classes."""

from cnn_jax.models.registry import create_model, list_models
from cnn_jax.models.resnet import ResNet, cifar_resnet

__all__ = ["ResNet", "cifar_resnet", "create_model", "list_models"]
