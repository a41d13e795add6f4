"""Records the results of torchvision's ImageClassification for images of odd sizes.

Run from the project's root, with torch and torchvision installed:
python -m tests.references.record_preprocessing
"""

import json
from pathlib import Path

from PIL import Image

from tests.references.preprocessing import CASES, image
from tests.references.torchvision_models import import_torchvision
from tests.references.weights import digest


def torchvisions(case):
    """The preset's float32 result for a case's image, as [height, width, channels]."""
    import_torchvision()
    from torchvision.transforms import InterpolationMode
    from torchvision.transforms._presets import ImageClassification

    preset = ImageClassification(
        resize_size=case.resize,
        crop_size=case.crop,
        interpolation=InterpolationMode(case.interpolation),
    )
    return preset(Image.fromarray(image(case))).numpy().transpose(1, 2, 0)


if __name__ == "__main__":
    path = Path(__file__).with_name("preprocessing.json")
    records = {str(case): digest(torchvisions(case)) for case in CASES}
    path.write_text(json.dumps(records, indent=1) + "\n")
