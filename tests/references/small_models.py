"""SimpleCNN and ConvAutoencoder in PyTorch, with weights that are equal on every machine.

Results are a dict of float64 arrays: `outputs`, and the gradient of every parameter under its path
in our variables and in our layout.
"""

import jax
import jax.numpy as jnp
import numpy as np
from flax.traverse_util import flatten_dict, unflatten_dict

from tests.references.weights import weights

CNN = {"widths": (3, 5), "num_classes": 6, "dropout": 0.0}
AUTOENCODER = {"widths": (3, 5), "code": 4, "image_shape": (8, 12, 2), "activation": "tanh"}
CNN_IMAGES = np.random.default_rng(1).standard_normal((4, 9, 8, 2))
CNN_COTANGENT = np.random.default_rng(2).standard_normal((4, 6))
AUTOENCODER_IMAGES = np.random.default_rng(1).uniform(size=(3, 8, 12, 2))


def drawn_params(model, image_shape):
    """Random float64 parameters of one of our models; their paths are the seeds."""
    shapes = jax.eval_shape(model.init, jax.random.key(0), jnp.zeros((1, *image_shape)))["params"]
    flat = {path: leaf.shape for path, leaf in flatten_dict(shapes, sep="/").items()}
    return unflatten_dict(weights(flat), sep="/")


def named(outputs, gradients):
    """Outputs and a tree of gradients as arrays by name."""
    flat = flatten_dict(gradients, sep="/")
    return {"outputs": np.asarray(outputs), **{k: np.asarray(v) for k, v in sorted(flat.items())}}


def torch_cnn(params):
    """Outputs and gradients of `SimpleCNN(**CNN)` in training, with or without BatchNorm."""
    import torch
    from torch.nn import functional

    tensors = jax.tree.map(lambda leaf: torch.tensor(leaf, requires_grad=True), params)
    x = torch.tensor(CNN_IMAGES).permute(0, 3, 1, 2)
    for stage in ("stem", "stage1"):
        conv, norm = (tensors["body"].get(f"{stage}_{layer}") for layer in ("conv", "norm"))
        x = functional.conv2d(x, conv["kernel"].permute(3, 2, 0, 1), conv.get("bias"), padding=1)
        if norm:
            x = functional.batch_norm(x, None, None, norm["scale"], norm["bias"], training=True)
        x = functional.max_pool2d(functional.relu(x), 2)
    head = tensors["head"]
    outputs = x.permute(0, 2, 3, 1).flatten(1) @ head["kernel"] + head["bias"]
    torch.sum(outputs * torch.tensor(CNN_COTANGENT)).backward()
    return named(outputs.detach(), jax.tree.map(lambda tensor: tensor.grad, tensors))


def torch_conv_autoencoder(params):
    """Outputs and gradients of the squared error of `ConvAutoencoder(**AUTOENCODER)`.

    A decoder without kernels is tied to the encoder.
    """
    import torch
    from torch.nn import functional

    tensors = jax.tree.map(lambda leaf: torch.tensor(leaf, requires_grad=True), params)
    encoder, decoder = tensors["encoder"], tensors["decoder"]
    tied = "kernel" not in decoder["output"]
    mirrored = {"code": "code", "stage2": "stage2", "output": "stage1"}

    def up_kernel(name):
        return encoder[mirrored[name]]["kernel"] if tied else decoder[name]["kernel"]

    def conv(x, layer):
        kernel = layer["kernel"].permute(3, 2, 0, 1)
        return functional.conv2d(x, kernel, layer["bias"], stride=2, padding=1)

    def up(x, name):
        kernel, bias = up_kernel(name).permute(3, 2, 0, 1), decoder[name]["bias"]
        return functional.conv_transpose2d(x, kernel, bias, stride=2, padding=1)

    target = torch.tensor(AUTOENCODER_IMAGES).permute(0, 3, 1, 2)
    maps = conv(torch.tanh(conv(target, encoder["stage1"])), encoder["stage2"]).tanh()
    flat = maps.permute(0, 2, 3, 1).flatten(1)
    codes = flat @ encoder["code"]["kernel"] + encoder["code"]["bias"]
    kernel = up_kernel("code").T if tied else up_kernel("code")
    maps = torch.tanh(codes @ kernel + decoder["code"]["bias"]).reshape(3, 2, 3, 5)
    outputs = up(torch.tanh(up(maps.permute(0, 3, 1, 2), "stage2")), "output")
    torch.sum((outputs - target) ** 2).backward()
    gradients = jax.tree.map(lambda tensor: tensor.grad, tensors)
    return named(outputs.permute(0, 2, 3, 1).detach(), gradients)
