"""Records torchvision's augmentations: python -m tests.references.record_augmentation

Needs torch and torchvision (see torchvision_models.py). Writes augmentation.json beside this file:
shape, norm and eight values of the augmented image, mask and boxes.
"""

import json

from tests.data.test_augment_parity import RECORD, record


def main():
    lines = []
    for name, cases in record().items():
        text = ",\n".join(f"  {json.dumps(case)}" for case in cases)
        lines.append(f" {json.dumps(name)}: [\n{text}\n ]")
    RECORD.write_text("{\n" + ",\n".join(lines) + "\n}\n")


if __name__ == "__main__":
    main()
