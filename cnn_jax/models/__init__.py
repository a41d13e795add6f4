"""Architectures: one family per file, created by name or by class."""

from cnn_jax.models.adain import AdaIN
from cnn_jax.models.airbench import Airbench
from cnn_jax.models.alexnet import AlexNet
from cnn_jax.models.autoencoder import Autoencoder, EncoderClassifier
from cnn_jax.models.captioner import Captioner
from cnn_jax.models.conv_autoencoder import ConvAutoencoder
from cnn_jax.models.dcgan import DCGANDiscriminator, DCGANGenerator
from cnn_jax.models.deeplab import DeepLab
from cnn_jax.models.densenet import DenseNet
from cnn_jax.models.fcn import FCN
from cnn_jax.models.gan import GAN
from cnn_jax.models.googlenet import GoogLeNet
from cnn_jax.models.inception import InceptionV3
from cnn_jax.models.language import LanguageModel
from cnn_jax.models.lenet import LeNet
from cnn_jax.models.localization import Localizer
from cnn_jax.models.mlp import MLP
from cnn_jax.models.rcnn import RCNN
from cnn_jax.models.registry import (
    create_model,
    example_shape,
    list_models,
    registered_name,
)
from cnn_jax.models.resnet import ResNet, cifar_resnet
from cnn_jax.models.retinanet import RetinaNet
from cnn_jax.models.segnet import SegNet
from cnn_jax.models.simple_cnn import SimpleCNN
from cnn_jax.models.sngan import SNGANDiscriminator, SNGANGenerator
from cnn_jax.models.ssd import SSD
from cnn_jax.models.text_classifier import TextClassifier
from cnn_jax.models.tiles import predict_tiles
from cnn_jax.models.transformation import TransformationNetwork
from cnn_jax.models.unet import UNet
from cnn_jax.models.vgg import VGG
from cnn_jax.models.wide_resnet import WideResNet

__all__ = [
    "FCN",
    "GAN",
    "MLP",
    "RCNN",
    "SSD",
    "VGG",
    "AdaIN",
    "Airbench",
    "AlexNet",
    "Autoencoder",
    "Captioner",
    "ConvAutoencoder",
    "DCGANDiscriminator",
    "DCGANGenerator",
    "DeepLab",
    "DenseNet",
    "EncoderClassifier",
    "GoogLeNet",
    "InceptionV3",
    "LanguageModel",
    "LeNet",
    "Localizer",
    "ResNet",
    "RetinaNet",
    "SNGANDiscriminator",
    "SNGANGenerator",
    "SegNet",
    "SimpleCNN",
    "TextClassifier",
    "TransformationNetwork",
    "UNet",
    "WideResNet",
    "cifar_resnet",
    "create_model",
    "example_shape",
    "list_models",
    "predict_tiles",
    "registered_name",
]
