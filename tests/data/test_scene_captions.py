"""Captions of scenes are true: what they say is compared with the pixels."""

import numpy as np
import pytest

from cnn_jax.data.scene_captions import KINDS, MOST, scene_captions
from cnn_jax.data.scenes import CLASS_NAMES, COLOUR_NAMES, COLOURS, Shape, described_scene, scene

SIZE = 64
SCENES = [described_scene((7, number), SIZE, MOST) for number in range(300)]
WORDS = {kind: set(words) for kind, words in KINDS}


def seen(example):
    """Colour and class of each shape, and its box, from pixels and annotations."""
    for row in np.flatnonzero(example["box_labels"] >= 0):
        pixels = example["image"][example["instances"] == row + 1].mean(axis=0)
        colour = int(np.argmin([np.abs(pixels - colour).sum() for colour in COLOURS]))
        label = CLASS_NAMES[example["box_labels"][row]]
        yield COLOUR_NAMES[colour], label, example["boxes"][row]


def noun(caption):
    """The pairs of colour and class that a caption names, in its order."""
    words = caption.split()
    colours = [word for word in words if word in WORDS["colour"]]
    return list(zip(colours, [word for word in words if word in WORDS["shape"]], strict=True))


def test_every_caption_names_every_shape_with_its_colour():
    counts = {1: 0, 2: 0}
    for example, shapes in SCENES:
        there = [pair for *pair, _ in seen(example)]
        captions = scene_captions(shapes, SIZE)
        assert len(set(captions)) == 5 and len(there) == len(shapes)
        counts[len(there)] += 1
        for caption in captions:
            assert sorted(noun(caption)) == sorted(map(tuple, there))
    assert min(counts.values()) > 100


def relation(one, other):
    """Where the first of two boxes is, and by how much that is clear, in pixels."""
    right, down = (one[:2] + one[2:] - other[:2] - other[2:]) / 2
    names = ("below" if down > 0 else "above") if abs(down) > abs(right) else None
    return names or ("right" if right > 0 else "left"), abs(abs(down) - abs(right))


def test_every_caption_says_where_the_first_shape_is():
    checked = 0
    for example, shapes in SCENES:
        if len(shapes) == 1:
            continue
        (*first, box), (*second, other) = seen(example)
        apart = np.any((box[:2] > other[2:]) | (other[:2] > box[2:]))
        where, clear = relation(box, other)
        back, _ = relation(other, box)
        # A box is that of the visible pixels, and a triangle's middle is not its centre.
        if not apart or clear < 4 or first == second:
            continue
        for caption in scene_captions(shapes, SIZE):
            (said,) = (word for word in caption.split() if word in WORDS["relation"])
            assert said == (where if noun(caption)[0] == tuple(first) else back), caption
        checked += 1
    assert checked > 50


def test_large_is_larger_than_the_middle():
    for example, shapes in SCENES:
        if len(shapes) > 1:
            continue
        ((_, _, (x0, _, x1, _)),) = seen(example)
        # A square is 1.6 radii wide, the others 2 or 1.8.
        (shape,) = shapes
        width = {"square": 1.6, "circle": 2.0, "triangle": 1.8}[CLASS_NAMES[shape.label]]
        if abs((x1 - x0) / width - 0.175 * SIZE) > 1:
            expected = "large" if (x1 - x0) / width > 0.175 * SIZE else "small"
            for caption in scene_captions(shapes, SIZE):
                assert expected in caption.split()


def test_the_sentences_themselves():
    one = Shape(1, 0, (40.0, 20.0), 15.0)
    other = Shape(2, 1, (10.0, 25.0), 7.0)
    assert scene_captions([one], SIZE) == [
        "a large red circle",
        "there is a large red circle",
        "one large red circle",
        "a red circle that is large",
        "a large circle that is red",
    ]
    assert scene_captions([one, other], SIZE) == [
        "a large red circle below a small blue square",
        "a small blue square above a large red circle",
        "a large red circle is below a small blue square",
        "a small blue square is above a large red circle",
        "there is a large red circle below a small blue square",
    ]
    beside = Shape(3, 4, (38.0, 60.0), 7.0)
    assert scene_captions([one, beside], SIZE)[:2] == [
        "a large red circle left of a small purple triangle",
        "a small purple triangle right of a large red circle",
    ]


def test_a_described_scene_is_the_scene():
    for most in (1, 2, 6):
        example, shapes = described_scene((3, 0), 32, most)
        alone = scene((3, 0), 32, most)
        assert all(np.array_equal(alone[name], example[name]) for name in alone)
        labels = [shape.label for shape in shapes]
        assert labels == example["box_labels"][: len(labels)].tolist()
        for shape, box in zip(shapes, example["boxes"], strict=False):
            centre = np.array(shape.centre[::-1])
            assert np.all(box[:2] >= centre - shape.radius - 1)
            assert np.all(box[2:] <= centre + shape.radius + 1)


@pytest.mark.parametrize("size", [16, 64])
def test_kinds_hold_the_words_that_say_something(size):
    others = set()
    for number in range(50):
        _, shapes = described_scene((1, number), size, MOST)
        for caption in scene_captions(shapes, size):
            others |= set(caption.split()) - set().union(*WORDS.values())
    assert others == {"a", "is", "of", "one", "that", "there"}
