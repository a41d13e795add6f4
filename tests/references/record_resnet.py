"""Records torchvision's resnet18 and resnet50: python -m tests.references.record_resnet

Needs torch and torchvision (see torchvision_models.py). Writes resnet18.json and resnet50.json
beside this file: the shape, norm and eight values of every tensor.
"""

import json
from pathlib import Path

import torch

from tests.references.torchvision_models import import_torchvision, reference
from tests.references.weights import digest

HERE = Path(__file__).parent
BATCH, SIZE = 2, 64


def main():
    for name in ("resnet18", "resnet50"):
        result = reference(name, BATCH, SIZE)
        del result["state_dict"]
        source = f"torch {torch.__version__}, torchvision {import_torchvision().__version__}"
        entries = {"source": source, "batch": BATCH, "size": SIZE}
        for key, value in result.items():
            entries |= (
                {f"{key}/{k}": digest(v) for k, v in value.items()}
                if isinstance(value, dict)
                else {key: digest(value)}
            )
        lines = [f" {json.dumps(key)}: {json.dumps(value)}" for key, value in entries.items()]
        (HERE / f"{name}.json").write_text("{\n" + ",\n".join(lines) + "\n}\n")


if __name__ == "__main__":
    main()
