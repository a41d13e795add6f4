import itertools

import numpy as np
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg

from cnn_jax.visual import confusion_matrix

COUNTS = np.array([[8, 2, 0], [0, 0, 0], [1, 0, 3]])


def test_colours_are_shares_of_the_true_class_and_cells_hold_counts():
    figure = confusion_matrix(COUNTS, ["cat", "dog", "horse"], title="digits, validation")
    axes = figure.axes[0]
    assert (axes.get_ylabel(), axes.get_xlabel()) == ("true class", "predicted class")
    assert [t.get_text() for t in axes.get_yticklabels()] == ["cat", "dog", "horse"]
    assert [t.get_text() for t in axes.get_xticklabels()] == ["cat", "dog", "horse"]
    (image,) = axes.get_images()
    np.testing.assert_allclose(image.get_array(), [[0.8, 0.2, 0], [0, 0, 0], [0.25, 0, 0.75]])
    cells = {t.get_position(): t.get_text() for t in axes.texts}
    assert cells == {(0, 0): "8", (1, 0): "2", (0, 2): "1", (2, 2): "3"}
    assert figure.get_suptitle() == "digits, validation\naccuracy 78.57% of 14"


def test_many_classes_show_names_that_do_not_overlap_but_no_counts():
    names = [f"class_{i}" for i in range(100)]
    figure = confusion_matrix(5 * np.eye(100, dtype=int), names, title="CIFAR-100, test")
    assert not figure.axes[0].texts
    assert [t.get_text() for t in figure.axes[0].get_yticklabels()] == names
    FigureCanvasAgg(figure).draw()
    boxes = [t.get_window_extent() for t in figure.axes[0].get_yticklabels()]
    assert all(above.y0 >= below.y1 for above, below in itertools.pairwise(boxes))


def test_without_examples_there_is_no_accuracy():
    figure = confusion_matrix(np.zeros((2, 2), int), ["a", "b"], title="empty")
    assert figure.get_suptitle() == "empty"


def test_errors_name_shapes_and_values(no_shape_hook):
    with pytest.raises(ValueError, match=r"\[classes, classes\], got \(2, 3\)"):
        confusion_matrix(np.zeros((2, 3), int), ["a", "b"], title="")
    with pytest.raises(ValueError, match="3 classes, but there are 2 names"):
        confusion_matrix(COUNTS, ["a", "b"], title="")
    with pytest.raises(ValueError, match="negative, got -1"):
        confusion_matrix(np.array([[1, -1], [0, 0]]), ["a", "b"], title="")


def test_long_counts_are_shares():
    counts = np.array([[900_000, 100_000], [0, 40]])
    figure = confusion_matrix(counts, ["a", "b"], title="")
    written = [text.get_text() for text in figure.axes[0].texts]
    assert written == ["90.0", "10.0", "100.0"]
