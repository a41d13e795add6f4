"""Figures: pure functions from arrays to `matplotlib.figure.Figure`, and one way to save them.

Figures are made without pyplot, so nothing is global, nothing needs a display, and a figure that
is dropped is freed. Every function takes a `title`, which should name the data set and the split.
"""

from cnn_jax.visual.confusion import confusion_matrix
from cnn_jax.visual.curves import error_curves, training_curves
from cnn_jax.visual.filters import first_layer_filters
from cnn_jax.visual.grid import image_grid, worst_mistakes
from cnn_jax.visual.save import save_figure

__all__ = [
    "confusion_matrix",
    "error_curves",
    "first_layer_filters",
    "image_grid",
    "save_figure",
    "training_curves",
    "worst_mistakes",
]
