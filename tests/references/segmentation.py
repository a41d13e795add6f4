"""Torchvision's networks for segmentation, and images with labels of every pixel."""

import numpy as np

from tests.references.torchvision_models import import_torchvision

CLASSES = 5
IGNORED = 255
AUXILIARY_WEIGHT = 0.5


def images_and_masks(batch, height, width):
    """Images [batch, height, width, 3] and masks [batch, height, width], partly ignored."""
    generator = np.random.default_rng(0)
    images = generator.standard_normal((batch, height, width, 3))
    masks = generator.integers(CLASSES, size=(batch, height, width))
    return images, np.where(generator.random(masks.shape) < 0.2, IGNORED, masks).astype(np.int32)


def torch_network(name, stage_sizes=None):
    """Torchvision's network with an auxiliary head and without dropout.

    Args:
        name: such as "fcn_resnet50".
        stage_sizes: numbers of blocks of a DeepLabV3 that has no name.
    """
    torchvision = import_torchvision()
    import torch
    from torchvision.models import resnet, segmentation
    from torchvision.models._utils import IntermediateLayerGetter

    if stage_sizes is None:
        options = {"weights": None, "weights_backbone": None, "aux_loss": True}
        model = torchvision.models.get_model(name, num_classes=CLASSES, **options)
    else:
        dilated = (False, True, True)
        body = resnet.ResNet(resnet.Bottleneck, stage_sizes, replace_stride_with_dilation=dilated)
        body = IntermediateLayerGetter(body, {"layer4": "out", "layer3": "aux"})
        heads = segmentation.deeplabv3.DeepLabHead, segmentation.fcn.FCNHead
        main, aux = (head(width, CLASSES) for head, width in zip(heads, (2048, 1024), strict=True))
        model = segmentation.DeepLabV3(body, main, aux)
    for module in model.modules():
        if isinstance(module, torch.nn.Dropout):
            module.p = 0.0
    return model


def reference(model, state_dict, images, masks, *, train, dtype=np.float64):
    """The results of torchvision's model, in PyTorch's layout.

    Returns:
        A dict: `logits`, `aux` in training, `loss`, `gradients/…` by PyTorch's names, and in
        training `statistics/…`.
    """
    import torch
    from torch.nn.functional import cross_entropy

    model.to(torch.float64 if dtype == np.float64 else torch.float32)
    state = {name: torch.tensor(value) for name, value in state_dict.items()}
    missing, unexpected = model.load_state_dict(state, strict=False)
    assert not unexpected and all(name.endswith("num_batches_tracked") for name in missing)
    model.train(train).zero_grad()
    outputs = model(torch.tensor(images.transpose(0, 3, 1, 2).astype(dtype)))
    target = torch.tensor(masks, dtype=torch.long)
    loss = cross_entropy(outputs["out"], target, ignore_index=IGNORED)
    result = {"logits": outputs["out"]}
    if train:
        result["aux"] = outputs["aux"]
        aux = cross_entropy(outputs["aux"], target, ignore_index=IGNORED)
        loss = loss + AUXILIARY_WEIGHT * aux
    loss.backward()
    result["loss"] = loss
    for name, value in model.named_parameters():
        # In evaluation the auxiliary head has no gradient.
        gradient = torch.zeros_like(value) if value.grad is None else value.grad
        result[f"gradients/{name}"] = gradient
    if train:
        for name, value in model.named_buffers():
            if not name.endswith("num_batches_tracked"):
                result[f"statistics/{name}"] = value
    return {name: value.detach().numpy() for name, value in result.items()}
