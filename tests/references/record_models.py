"""Records torchvision's classifiers: python -m tests.references.record_models [NAME ...]

Needs torch and torchvision (see torchvision_models.py). Writes NAME.json beside this file for the
entries of `tests.references.classifiers.RECORDED` of that name, or for all: the shape, norm and
eight values of every tensor.
"""

import sys

from tests.pretrained.parity import BATCH, drawn_weights
from tests.references.classifiers import RECORDED
from tests.references.records import write_record
from tests.references.torchvision_models import reference


def main():
    for name in sys.argv[1:] or RECORDED:
        classifier = RECORDED[name]
        (size,) = classifier.sizes
        state_dict, arrays = drawn_weights(classifier), {}
        # Gradients in evaluation would double the record; the live comparison has them.
        for mode, train in (("eval", False), ("train", True)):
            values = reference(classifier, state_dict, BATCH, size, train=train, gradients=train)
            arrays |= {f"{mode}/{key}": value for key, value in values.items()}
        write_record(name, arrays)


if __name__ == "__main__":
    main()
