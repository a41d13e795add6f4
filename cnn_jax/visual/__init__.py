"""Figures: pure functions from arrays to `matplotlib.figure.Figure`, and a function to save them.

Figures do not use pyplot: there is no global state, no display is needed, and unused figures are
freed. Every function takes a `title`, which should name the data set and the split.
"""

from cnn_jax.extras import extra

with extra("figures", "cnn_jax.visual"):
    from cnn_jax.visual.animation import save_animation
    from cnn_jax.visual.bars import grouped_bars
    from cnn_jax.visual.boxes import BoxedImage, box_grid
    from cnn_jax.visual.captions import CaptionedImage, caption_grid
    from cnn_jax.visual.class_scores import class_scores
    from cnn_jax.visual.codes import code_scatter
    from cnn_jax.visual.compared import accuracy_gaps, compared_curves
    from cnn_jax.visual.confusion import confusion_matrix
    from cnn_jax.visual.curves import error_curves, training_curves
    from cnn_jax.visual.detections import drawn_objects, picture_sheet
    from cnn_jax.visual.examples import Picture, example_rows
    from cnn_jax.visual.feature_maps import strongest_maps
    from cnn_jax.visual.filters import filter_mosaic, first_layer_filters
    from cnn_jax.visual.functions import function_fits, function_maps
    from cnn_jax.visual.gradients import gradients_by_layer, gradients_over_training
    from cnn_jax.visual.grid import image_grid, worst_mistakes
    from cnn_jax.visual.instances import InstanceImage, instance_rows
    from cnn_jax.visual.kernels import kernel_responses
    from cnn_jax.visual.language import gradients_through_time, loss_curves, text_sheet
    from cnn_jax.visual.learning_rates import learning_rate_curves
    from cnn_jax.visual.over_size import (
        accuracy_over_batch_size,
        accuracy_over_distance,
        efficiency_over_devices,
        error_over_size,
        learning_curve,
    )
    from cnn_jax.visual.panels import Panel, panel_sheet, signed_image
    from cnn_jax.visual.predictions import Prediction, prediction_sheet
    from cnn_jax.visual.reconstructions import reconstructions
    from cnn_jax.visual.runs import accuracies_of_runs
    from cnn_jax.visual.samples import class_histogram, sample_sheet
    from cnn_jax.visual.save import save_figure
    from cnn_jax.visual.segmentations import (
        SegmentedImage,
        class_colours,
        overlaid,
        painted,
        segmentation_rows,
    )
    from cnn_jax.visual.style import NothingToDraw
    from cnn_jax.visual.style_transfer import picture_rows, transfer_sheet
    from cnn_jax.visual.translations import change_over_shift
    from cnn_jax.visual.words import nearest_sheet, word_map

__all__ = [
    "BoxedImage",
    "CaptionedImage",
    "InstanceImage",
    "NothingToDraw",
    "Panel",
    "Picture",
    "Prediction",
    "SegmentedImage",
    "accuracies_of_runs",
    "accuracy_gaps",
    "accuracy_over_batch_size",
    "accuracy_over_distance",
    "box_grid",
    "caption_grid",
    "change_over_shift",
    "class_colours",
    "class_histogram",
    "class_scores",
    "code_scatter",
    "compared_curves",
    "confusion_matrix",
    "drawn_objects",
    "efficiency_over_devices",
    "error_curves",
    "error_over_size",
    "example_rows",
    "filter_mosaic",
    "first_layer_filters",
    "function_fits",
    "function_maps",
    "gradients_by_layer",
    "gradients_over_training",
    "gradients_through_time",
    "grouped_bars",
    "image_grid",
    "instance_rows",
    "kernel_responses",
    "learning_curve",
    "learning_rate_curves",
    "loss_curves",
    "nearest_sheet",
    "overlaid",
    "painted",
    "panel_sheet",
    "picture_rows",
    "picture_sheet",
    "prediction_sheet",
    "reconstructions",
    "sample_sheet",
    "save_animation",
    "save_figure",
    "segmentation_rows",
    "signed_image",
    "strongest_maps",
    "text_sheet",
    "training_curves",
    "transfer_sheet",
    "word_map",
    "worst_mistakes",
]
