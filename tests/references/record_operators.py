"""Records PyTorch's operators: python -m tests.references.record_operators [subject …]

Needs torch. Writes operators/<subject>.json beside this file, for the subjects named or for all
of tests/layers/operators: the shape, norm and eight values of each output and gradient.
"""

import sys

from tests.layers.operators import SUBJECTS, operators
from tests.layers.parity import record


def main():
    for subject in sys.argv[1:] or SUBJECTS:
        record(subject, operators(subject))


if __name__ == "__main__":
    main()
