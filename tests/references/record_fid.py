"""Records torch-fidelity's network and scores: python -m tests.references.record_fid

Needs torch, torchvision (see torchvision_models.py) and torch-fidelity; recorded with 0.4.0. Writes
fid_inception_v3_CASE.json and sample_scores.json beside this file.
"""

import json

from cnn_jax.models import create_model, example_shape
from tests.pretrained.parity import drawn_state
from tests.references import fidelity
from tests.references.records import HERE, write_record

MODEL = "fid_inception_v3"


def main():
    fidelity.import_fidelity()
    state_dict = drawn_state(create_model(MODEL), example_shape(MODEL))
    for name, (shape, size) in fidelity.CASES.items():
        arrays = fidelity.reference(state_dict, fidelity.pixels(shape), size)
        write_record(f"{MODEL}_{name.replace(' ', '_')}", arrays)
    scores = {name: fidelity.scores(*case) for name, case in fidelity.SCORED.items()}
    (HERE / "sample_scores.json").write_text(json.dumps(scores, indent=1) + "\n")


if __name__ == "__main__":
    main()
