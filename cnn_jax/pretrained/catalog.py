"""The public weights of each model: where they are, and their published accuracy."""

import difflib
import fnmatch
from dataclasses import dataclass
from typing import Any

from cnn_jax.coco import COCO_CLASSES
from cnn_jax.errors import ConfigError
from cnn_jax.imagenet import imagenet_classes
from cnn_jax.pretrained.preprocessing import Preprocessing
from cnn_jax.pretrained.whole_image import BySides
from cnn_jax.voc import VOC_CLASSES

TORCHVISION = "https://download.pytorch.org/models/"
PYTORCH_FID = "https://github.com/mseitzer/pytorch-fid/releases/download/fid_weights/"


@dataclass(frozen=True)
class Weights:
    """Public weights of one model: of a classifier of ImageNet, for segmentation, or of a detector.

    The classifier `fid_inception_v3` measures generated images; its accuracy is not published.

    Attributes:
        model: a name for `create_model`.
        name: torchvision's, such as "IMAGENET1K_V1".
        file: the published one; its last part is the first eight digits of its sha256.
        top1: accuracy on ImageNet's validation images in percent, as published by torchvision; for
            segmentation that of the pixels of COCO's validation images with VOC's labels. None for
            a detector.
        top5: percentage of images whose class is among the five most likely; None for segmentation
            and for a detector.
        parameters: number of parameters as published by torchvision, which includes the auxiliary
            classifier of Inception v3 and of segmentation, but not those of GoogLeNet; the files
            have all of them.
        mean_iou: for segmentation, the mean intersection over union in percent.
        box_ap: for a detector, COCO's average precision of boxes on its validation images, in
            percent.
        mask_ap: for a detector of instances, that of their masks.
        server: address of the folder that the file is published in.
    """

    model: str
    name: str
    file: str
    top1: float | None
    top5: float | None
    parameters: int
    mean_iou: float | None = None
    box_ap: float | None = None
    mask_ap: float | None = None
    server: str = TORCHVISION

    @property
    def url(self) -> str:
        """Where the file is published."""
        return self.server + self.file

    @property
    def sha256(self) -> str:
        """The first eight digits of the file's sha256."""
        return self.file.removesuffix(".pth").rsplit("-", 1)[-1]

    @property
    def hub(self) -> str | None:
        """The repository of timm on the Hugging Face hub with the same weights as safetensors."""
        not_there = ("alexnet", "googlenet", "inception_v3", "fid_inception_v3")
        if self.model in not_there or self.mean_iou or self.box_ap:
            return None
        tag = {"IMAGENET1K_V1": "tv_in1k", "IMAGENET1K_V2": "tv2_in1k"}[self.name]
        return f"timm/{self.model}.{tag}"

    @property
    def attributes(self) -> dict[str, Any]:
        """Attributes of the model that the weights need, where they are not its defaults."""
        if self.model in ("googlenet", "inception_v3"):
            return {"transform_input": True}
        if self.box_ap and self.model.endswith("resnet50_fpn"):
            # As torchvision sets them with these weights.
            return {"norm": "frozen", "norm_eps": 0.0}
        return {}

    @property
    def preprocessing(self) -> Preprocessing | BySides:
        """The preprocessing with which the weights were measured; an SSD resizes by itself."""
        if self.model == "ssd300_vgg16":
            # Caffe's, of numbers up to 255.
            mean, std = (0.48235, 0.45882, 0.40784), (1 / 255, 1 / 255, 1 / 255)
            return BySides(shorter=0, mean=mean, std=std)
        if self.box_ap:
            return BySides()
        if self.mean_iou:
            return Preprocessing(resize=520, crop=0)
        if self.model == "inception_v3":
            return Preprocessing(resize=342, crop=299)
        if self.model == "fid_inception_v3":
            # The scale of `models.inception.fid_input`.
            middle = (128 / 255,) * 3
            return Preprocessing(resize=342, crop=299, mean=middle, std=middle)
        return Preprocessing(resize=232 if self.name == "IMAGENET1K_V2" else 256)

    @property
    def class_names(self) -> tuple[str, ...]:
        """The classes, by label; empty if they are not published with the weights."""
        if self.model == "fid_inception_v3":
            return ()
        if self.box_ap:
            return COCO_CLASSES
        return VOC_CLASSES if self.mean_iou else imagenet_classes()

    @property
    def num_classes(self) -> int:
        """Number of the model's outputs."""
        return 1008 if self.model == "fid_inception_v3" else len(self.class_names)


def list_weights(pattern: str = "*") -> list[Weights]:
    """All weights whose model's name matches a shell pattern such as "resnet*"."""
    return [one for one in WEIGHTS if fnmatch.fnmatchcase(one.model, pattern)]


def find_weights(model: str, name: str = "DEFAULT") -> Weights:
    """The weights of a model by name; "DEFAULT" are its best.

    Raises:
        ConfigError: unknown model or weights (the known ones are listed).
    """
    there = [one for one in WEIGHTS if one.model == model]
    if not there:
        known = list(dict.fromkeys(one.model for one in WEIGHTS))
        close = difflib.get_close_matches(model, known, n=5) or known
        raise ConfigError(
            f"there are no public weights for {model!r}; for {', '.join(close)} there are"
        )
    if name == "DEFAULT":
        return max(there, key=lambda one: one.box_ap or one.top1 or 0)
    for one in there:
        if one.name == name:
            return one
    names = ", ".join(["DEFAULT", *(one.name for one in there)])
    raise ConfigError(
        f"unknown weights {name!r} for {model!r}; there are {names}, and any repository of the "
        f'Hugging Face hub, such as "timm/{model}.a1_in1k"'
    )


# From torchvision 0.28's own tables (`torchvision.models.get_model_weights`), and pytorch-fid 0.3.
WEIGHTS = [
    Weights("alexnet", "IMAGENET1K_V1", "alexnet-owt-7be5be79.pth", 56.522, 79.066, 61_100_840),
    Weights("vgg11", "IMAGENET1K_V1", "vgg11-8a719046.pth", 69.02, 88.628, 132_863_336),
    Weights("vgg11_bn", "IMAGENET1K_V1", "vgg11_bn-6002323d.pth", 70.37, 89.81, 132_868_840),
    Weights("vgg13", "IMAGENET1K_V1", "vgg13-19584684.pth", 69.928, 89.246, 133_047_848),
    Weights("vgg13_bn", "IMAGENET1K_V1", "vgg13_bn-abd245e5.pth", 71.586, 90.374, 133_053_736),
    Weights("vgg16", "IMAGENET1K_V1", "vgg16-397923af.pth", 71.592, 90.382, 138_357_544),
    Weights("vgg16_bn", "IMAGENET1K_V1", "vgg16_bn-6c64b313.pth", 73.36, 91.516, 138_365_992),
    Weights("vgg19", "IMAGENET1K_V1", "vgg19-dcbb9e9d.pth", 72.376, 90.876, 143_667_240),
    Weights("vgg19_bn", "IMAGENET1K_V1", "vgg19_bn-c79401a0.pth", 74.218, 91.842, 143_678_248),
    Weights("googlenet", "IMAGENET1K_V1", "googlenet-1378be20.pth", 69.778, 89.53, 6_624_904),
    Weights(
        "inception_v3",
        "IMAGENET1K_V1",
        "inception_v3_google-0cc3c7bd.pth",
        77.294,
        93.45,
        27_161_264,
    ),
    Weights(
        "fid_inception_v3",
        "INCEPTION_2015_12_05",
        "pt_inception-2015-12-05-6726825d.pth",
        None,
        None,
        23_850_960,
        server=PYTORCH_FID,
    ),
    Weights("resnet18", "IMAGENET1K_V1", "resnet18-f37072fd.pth", 69.758, 89.078, 11_689_512),
    Weights("resnet34", "IMAGENET1K_V1", "resnet34-b627a593.pth", 73.314, 91.42, 21_797_672),
    Weights("resnet50", "IMAGENET1K_V1", "resnet50-0676ba61.pth", 76.13, 92.862, 25_557_032),
    Weights("resnet50", "IMAGENET1K_V2", "resnet50-11ad3fa6.pth", 80.858, 95.434, 25_557_032),
    Weights("resnet101", "IMAGENET1K_V1", "resnet101-63fe2227.pth", 77.374, 93.546, 44_549_160),
    Weights("resnet101", "IMAGENET1K_V2", "resnet101-cd907fc2.pth", 81.886, 95.78, 44_549_160),
    Weights("resnet152", "IMAGENET1K_V1", "resnet152-394f9c45.pth", 78.312, 94.046, 60_192_808),
    Weights("resnet152", "IMAGENET1K_V2", "resnet152-f82ba261.pth", 82.284, 96.002, 60_192_808),
    Weights(
        "resnext50_32x4d",
        "IMAGENET1K_V1",
        "resnext50_32x4d-7cdf4587.pth",
        77.618,
        93.698,
        25_028_904,
    ),
    Weights(
        "resnext50_32x4d",
        "IMAGENET1K_V2",
        "resnext50_32x4d-1a0047aa.pth",
        81.198,
        95.34,
        25_028_904,
    ),
    Weights(
        "resnext101_32x8d",
        "IMAGENET1K_V1",
        "resnext101_32x8d-8ba56ff5.pth",
        79.312,
        94.526,
        88_791_336,
    ),
    Weights(
        "resnext101_32x8d",
        "IMAGENET1K_V2",
        "resnext101_32x8d-110c445d.pth",
        82.834,
        96.228,
        88_791_336,
    ),
    Weights(
        "wide_resnet50_2",
        "IMAGENET1K_V1",
        "wide_resnet50_2-95faca4d.pth",
        78.468,
        94.086,
        68_883_240,
    ),
    Weights(
        "wide_resnet50_2",
        "IMAGENET1K_V2",
        "wide_resnet50_2-9ba9bcbe.pth",
        81.602,
        95.758,
        68_883_240,
    ),
    Weights(
        "wide_resnet101_2",
        "IMAGENET1K_V1",
        "wide_resnet101_2-32ee1156.pth",
        78.848,
        94.284,
        126_886_696,
    ),
    Weights(
        "wide_resnet101_2",
        "IMAGENET1K_V2",
        "wide_resnet101_2-d733dc28.pth",
        82.51,
        96.02,
        126_886_696,
    ),
    Weights("densenet121", "IMAGENET1K_V1", "densenet121-a639ec97.pth", 74.434, 91.972, 7_978_856),
    Weights("densenet161", "IMAGENET1K_V1", "densenet161-8d451a50.pth", 77.138, 93.56, 28_681_000),
    Weights("densenet169", "IMAGENET1K_V1", "densenet169-b2777c0a.pth", 75.6, 92.806, 14_149_480),
    Weights("densenet201", "IMAGENET1K_V1", "densenet201-c1103571.pth", 76.896, 93.37, 20_013_928),
    *(
        Weights(f"{head}_resnet{depth}", "COCO_WITH_VOC_LABELS_V1", file, pixels, None, number, iou)
        for head, depth, file, pixels, number, iou in (
            ("fcn", 50, "fcn_resnet50_coco-1167a1af.pth", 91.4, 35_322_218, 60.5),
            ("fcn", 101, "fcn_resnet101_coco-7ecb50ca.pth", 91.9, 54_314_346, 63.7),
            ("deeplabv3", 50, "deeplabv3_resnet50_coco-cd0a2569.pth", 92.4, 42_004_074, 66.4),
            ("deeplabv3", 101, "deeplabv3_resnet101_coco-586e9e4e.pth", 92.4, 60_996_202, 67.4),
        )
    ),
    *(
        Weights(model, "COCO_V1", file, None, None, number, box_ap=box_ap, mask_ap=mask_ap)
        for model, file, number, box_ap, mask_ap in (
            ("ssd300_vgg16", "ssd300_vgg16_coco-b556d3b4.pth", 35_641_826, 25.1, None),
            (
                "retinanet_resnet50_fpn",
                "retinanet_resnet50_fpn_coco-eeacb38b.pth",
                34_014_999,
                36.4,
                None,
            ),
            (
                "retinanet_resnet50_fpn_v2",
                "retinanet_resnet50_fpn_v2_coco-5905b1c5.pth",
                38_198_935,
                41.5,
                None,
            ),
            (
                "fasterrcnn_resnet50_fpn",
                "fasterrcnn_resnet50_fpn_coco-258fb6c6.pth",
                41_755_286,
                37.0,
                None,
            ),
            (
                "fasterrcnn_resnet50_fpn_v2",
                "fasterrcnn_resnet50_fpn_v2_coco-dd69338a.pth",
                43_712_278,
                46.7,
                None,
            ),
            (
                "maskrcnn_resnet50_fpn",
                "maskrcnn_resnet50_fpn_coco-bf2d0c1e.pth",
                44_401_393,
                37.9,
                34.6,
            ),
            (
                "maskrcnn_resnet50_fpn_v2",
                "maskrcnn_resnet50_fpn_v2_coco-73cbd019.pth",
                46_359_409,
                47.4,
                41.8,
            ),
        )
    ),
]
