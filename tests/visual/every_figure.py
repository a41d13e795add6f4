"""A figure of every function of `cnn_jax.visual`, of made-up inputs that are hard to draw."""

from collections.abc import Callable

import numpy as np
from matplotlib.figure import Figure

from cnn_jax import visual

_RANDOM = np.random.default_rng(0)
_PHOTO = np.kron(_RANDOM.integers(0, 256, (12, 18, 3)), np.ones((8, 8, 1))).astype(np.uint8)
_BOXES = np.array([[20.0, 30.0, 90.0, 80.0]])
_DIGITS = _RANDOM.random((8, 8, 8, 1)).astype(np.float32)
_NAMES = ["airplane", "cat", "a class of many words", "n02084071 dog", "x"]
_TITLE = "CIFAR-10, test: what is drawn, with a title that is longer than the figure is wide"


def _rows(end: float) -> list[dict[str, object]]:
    """Ten epochs; the accuracy ends at `end`."""
    return [
        {
            "step": 100 * epoch,
            "split": split,
            "loss": 3 * (1 - end) + 2 / epoch,
            "accuracy": end - (0.3 if split == "train" else 0.4) / epoch,
            "learning_rate": 0.1 * 0.5**epoch,
            "grad_norm": 5 / epoch,
        }
        for epoch in range(1, 11)
        for split in ("train", "validation")
    ]


_RUNS = {"plain20": _rows(0.9), "resnet20": _rows(0.9), "resnet56": _rows(0.93)}
_PROBABILITIES = _RANDOM.dirichlet(np.full(5, 0.2), 8).astype(np.float32)
_LABELS = np.array([0, 1, 2, 3, 4, 0, 1, 2], np.int32)
_X = np.linspace(-1, 1, 50)
_PREDICTION = visual.Prediction(_PHOTO, "IMG_20231105_123456.jpg", _NAMES, _PROBABILITIES[0])
_PICTURE = visual.Picture(
    (_PHOTO / 255).astype(np.float32),
    boxes=np.array([[20.0, 10.0, 90.0, 60.0]], np.float32),
    mask=np.kron(np.eye(12, 18, 3), np.ones((8, 8))).astype(np.int32),
    caption="IMG_20231105_123456.jpg",
)
_MASK = np.kron(_RANDOM.choice([0, 1, 2, 3, 4, 255], (12, 18)), np.ones((8, 8))).astype(int)
_SEGMENTED = visual.SegmentedImage(
    _PHOTO, _MASK, {"prediction": np.roll(_MASK, 9, 0)}, "IMG_20231105_123456.jpg"
)
_MASKS = np.stack([number == _MASK for number in (1, 2, 3)])
_HEAT = np.add.outer(np.linspace(0, 1e-3, 96), np.linspace(0, 1e-3, 144)).astype(np.float32)

FIGURES: dict[str, Callable[[], Figure]] = {
    "accuracies_of_runs": lambda: visual.accuracies_of_runs(
        {"ours": [0.94, 0.941, 0.939], "reference": [0.9405]}, target=0.94, title=_TITLE
    ),
    "accuracy_gaps": lambda: visual.accuracy_gaps(
        {"none": (1.0, 0.702), "dropout": (0.71, 0.705), "weight decay": (0.6, 0.75)},
        ("train", "test"),
        title=_TITLE,
    ),
    "accuracy_over_batch_size": lambda: visual.accuracy_over_batch_size(
        [8, 32, 128, 512, 2048],
        {"batch": [0.9, 0.91, 0.9, 0.8, 0.5], "layer": [0.9, 0.91, 0.9, 0.8, 0.5]},
        title=_TITLE,
    ),
    "accuracy_over_distance": lambda: visual.accuracy_over_distance(
        [1, 2, 4, 8],
        {"fcn32s": [0.5, 0.6, 0.7, 0.8], "fcn8s": [0.6, 0.7, 0.8, 0.9]},
        title=_TITLE,
    ),
    "caption_grid": lambda: visual.caption_grid(
        [
            visual.CaptionedImage(_PHOTO, words.split(), (True,) * 3 + (False,), reference)
            for words, reference in (
                ("a large n02084071 dog", "a cat of many words beside another one, on $5 and $6"),
                ("it costs $5 today", "a"),
                ("a " + "very" * 30 + " long word", ""),
            )
        ]
        + [visual.CaptionedImage(_PHOTO[..., :1], ["word"] * 60)] * 2,
        title=_TITLE,
    ),
    "change_over_shift": lambda: visual.change_over_shift(
        [0, 1, 2, 4, 8],
        {
            "stride 1": {"max": [0, 0.1, 0.2, 0.3, 0.4], "average": [0, 0.1, 0.2, 0.3, 0.4]},
            "stride 2": {"max": [0, 0.3, 0.1, 0.2, 0.3]},
        },
        title=_TITLE,
    ),
    "class_histogram": lambda: visual.class_histogram(
        _NAMES,
        {"samples": [0.5, 0.3, 0.001, 0.0, 0.199], "validation images": [0.2] * 5},
        title=_TITLE,
        least=0.03,
    ),
    "class_scores": lambda: visual.class_scores(
        _NAMES,
        {"IoU": [0.9, 0.5, 0.0, np.nan, 1.0], "Dice": [0.95, 0.67, 0.0, np.nan, 1.0]},
        shares=[0.5, 0.3, 0.001, 0.0, 0.199],
        title=_TITLE,
    ),
    "code_scatter": lambda: visual.code_scatter(
        {"PCA": _RANDOM.normal(size=(200, 2)), "autoencoder": _RANDOM.normal(size=(200, 2))},
        np.arange(200, dtype=np.int32) % 5,
        _NAMES,
        title=_TITLE,
    ),
    "compared_curves": lambda: visual.compared_curves(
        _RUNS, ("loss", "accuracy", "learning_rate"), title=_TITLE
    ),
    "confusion_matrix": lambda: visual.confusion_matrix(
        _RANDOM.integers(0, 2000, (5, 5)) * (1 + 9 * np.eye(5, dtype=int)), _NAMES, title=_TITLE
    ),
    "error_curves": lambda: visual.error_curves(_RUNS, title=_TITLE),
    "efficiency_over_devices": lambda: visual.efficiency_over_devices(
        [1, 8, 1024], {"TPU v5e": [1, 0.99, 0.8], "H100": [1, 0.9, 0.4]}, title=_TITLE
    ),
    "error_over_size": lambda: visual.error_over_size(
        [2, 4, 8, 16],
        {"wave": [0.1, 0.02, 0.01, 0.002], "ripples": [0.3, 0.2, 0.1, 0.01]},
        xlabel="neurons",
        ylabel="RMSE",
        title=_TITLE,
    ),
    "example_rows": lambda: visual.example_rows(
        {"flip": [_PICTURE] * 3, "a name of several words": [_PICTURE] * 2}, title=_TITLE
    ),
    "first_layer_filters": lambda: visual.first_layer_filters(
        _RANDOM.normal(size=(5, 5, 3, 32)).astype(np.float32), title=_TITLE
    ),
    "function_fits": lambda: visual.function_fits(
        _X,
        np.sin(6 * _X),
        {f"{n} neurons": np.sin(6 * _X) + 1 / n for n in (2, 4, 8, 16, 32, 64)},
        title=_TITLE,
    ),
    "function_maps": lambda: visual.function_maps(
        np.outer(_X, _X),
        {f"{n} neurons": np.outer(_X, _X) + 1 / n for n in (2, 4, 8, 16)},
        (-1, 1, -1, 1),
        title=_TITLE,
    ),
    "gradients_by_layer": lambda: visual.gradients_by_layer(
        {
            moment: {"sigmoid": 10.0 ** np.arange(-9, 1), "ReLU": np.ones(10), "ELU": np.ones(10)}
            for moment in ("first steps", "last steps")
        },
        title=_TITLE,
    ),
    "gradients_over_training": lambda: visual.gradients_over_training(
        {
            name: ([100, 200, 300, 400], 10.0 ** _RANDOM.uniform(-6, 0, (4, 10)))
            for name in ("sigmoid", "tanh", "ReLU", "LeakyReLU", "ELU", "GELU")
        },
        title=_TITLE,
    ),
    "gradients_through_time": lambda: visual.gradients_through_time(
        {"lstm": 0.8 ** np.arange(100), "gru": 0.7 ** np.arange(100), "rnn": 0.3 ** np.arange(100)},
        title=_TITLE,
    ),
    "grouped_bars": lambda: visual.grouped_bars(
        {
            "2 numbers": {"PCA": 1234.5, "autoencoder": 1233.25, "deep": 0.001234},
            "8 numbers": {"PCA": 1.0},
        },
        ylabel="squared error",
        title=_TITLE,
    ),
    "image_grid": lambda: visual.image_grid(
        _DIGITS, ["IMG_20231105_123456789.jpg, 0.123"] * 8, title=_TITLE, columns=5
    ),
    "instance_rows": lambda: visual.instance_rows(
        [visual.InstanceImage(_PHOTO, _MASKS, _MASKS[1:], "IMG_20231105_123456.jpg")] * 3,
        title=_TITLE,
    ),
    "kernel_responses": lambda: visual.kernel_responses(
        {name: np.full((5, 5), -0.125) for name in ("edges", "blur", "sharpen")},
        {name: _PHOTO[..., :1].astype(np.float32) for name in ("edges", "blur", "sharpen")},
        title=_TITLE,
    ),
    "loss_curves": lambda: visual.loss_curves(
        _RUNS, ylabel="validation loss (nats a token)", title=_TITLE
    ),
    "learning_curve": lambda: visual.learning_curve(
        [100, 300, 1000],
        {
            "random": [0.437, 0.55, 0.70],
            "pretrained": [0.435, 0.55, 0.701],
            "head alone": [0.433, 0.55, 0.60],
        },
        xlabel="training images",
        title=_TITLE,
    ),
    "box_grid": lambda: visual.box_grid(
        [visual.BoxedImage(_PHOTO, _BOXES, _BOXES + 5, "n02084071 dog, IoU 0.82")] * 3,
        title=_TITLE,
    ),
    "learning_rate_curves": lambda: visual.learning_rate_curves(
        {1e-4: _rows(0.8), 1e-3: _rows(0.8), 1e-2: _rows(0.9), 1.0: _rows(0.2)},
        {1e-4: 0.8, 1e-3: 0.8, 1e-2: 0.9, 1.0: None},
        1e-2,
        metric="accuracy",
        title=_TITLE,
    ),
    "panel_sheet": lambda: visual.panel_sheet(
        _PREDICTION,
        [
            [visual.Panel("Grad-CAM at stage4: n02084071 dog", _PHOTO, _HEAT, "evidence (logit)")],
            [
                visual.Panel("probability with 32x32 pixels hidden", _PHOTO, _HEAT, "probability"),
                visual.Panel("guided backpropagation", _PHOTO),
            ],
        ],
        title=_TITLE,
    ),
    "nearest_sheet": lambda: visual.nearest_sheet(
        {name: [("exception", 0.91), ("a_longer_phrase", 0.8)] for name in _NAMES}, title=_TITLE
    ),
    "picture_rows": lambda: visual.picture_rows(
        [{"IMG_20231105_123456.jpg, a long name": _PHOTO, "b": _PHOTO[:, :40]}, {"c": _PHOTO}],
        title=_TITLE,
    ),
    "picture_sheet": lambda: visual.picture_sheet(
        [_PHOTO, _PHOTO.transpose(1, 0, 2), _PHOTO], ["IMG_20231105_123456.jpg"] * 3, title=_TITLE
    ),
    "prediction_sheet": lambda: visual.prediction_sheet([_PREDICTION] * 3, title=_TITLE),
    "reconstructions": lambda: visual.reconstructions(
        _DIGITS, {"PCA": _DIGITS / 2, "autoencoder": _DIGITS}, list("01234567"), title=_TITLE
    ),
    "sample_sheet": lambda: visual.sample_sheet(_DIGITS.repeat(12, axis=0), title=_TITLE),
    "text_sheet": lambda: visual.text_sheet(
        "KING HENRY:\nAnd $5 more", "\tof \x1b[31m wine,\n" + 30 * "and a long line ", title=_TITLE
    ),
    "transfer_sheet": lambda: visual.transfer_sheet(
        [{"content: tower.jpg": _PHOTO}, {f"iteration {n}": _PHOTO[:, : 40 + n] for n in (1, 50)}],
        [
            {"iteration": float(n), "content": 0.1 + n, "style": 1e3 / (1 + n), "variation": 0.0}
            for n in range(0, 60, 10)
        ],
        title=_TITLE,
    ),
    "training_curves": lambda: visual.training_curves(_rows(0.9), title=_TITLE),
    "word_map": lambda: visual.word_map(
        _RANDOM.standard_normal((200, 2)), [f"word{n}$" for n in range(200)], title=_TITLE
    ),
    "segmentation_rows": lambda: visual.segmentation_rows(
        [_SEGMENTED, _SEGMENTED], _NAMES, title=_TITLE
    ),
    "worst_mistakes": lambda: visual.worst_mistakes(
        _DIGITS, _LABELS, _PROBABILITIES, _NAMES, title=_TITLE
    ),
}
