"""Records of a reference's results: one JSON file per subject, with a digest of every array."""

import json
from pathlib import Path

import numpy as np

from tests.references.weights import digest
from tests.tolerance import assert_close

HERE = Path(__file__).parent


def write_record(subject, arrays):
    """Write `<subject>.json` beside this file, with one line per array."""
    lines = [f" {json.dumps(name)}: {json.dumps(digest(array))}" for name, array in arrays.items()]
    (HERE / f"{subject}.json").write_text("{\n" + ",\n".join(lines) + "\n}\n")


def assert_equals_record(subject, arrays):
    """Raise AssertionError unless the float64 arrays equal those of the record, to 1e-8."""
    expected = json.loads((HERE / f"{subject}.json").read_text())
    assert arrays.keys() == expected.keys()
    for name, value in expected.items():
        mine = digest(arrays[name])
        assert mine["shape"] == value["shape"], name
        # The eight values are a sample; its largest value is at least the root mean square.
        scale = value["norm"] / np.sqrt(max(np.size(arrays[name]), 1))
        assert_close(mine["norm"], value["norm"])
        assert_close(mine["values"], value["values"], atol=1e-8 * scale + 1e-10)
