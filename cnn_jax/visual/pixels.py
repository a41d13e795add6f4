"""One image in axes."""

import numpy as np
from matplotlib.axes import Axes

# Smaller images are drawn as square pixels, larger ones are resampled smoothly.
_PIXELS_UP_TO = 64


def draw_pixels(axes: Axes, image: np.ndarray) -> None:
    """Draw a gray or RGB image, uint8 or in [0, 1], clipped to that range."""
    height, width, channels = image.shape
    pixels = image if image.dtype == np.uint8 else np.clip(image.astype(np.float32), 0, 1)
    axes.imshow(
        pixels[..., 0] if channels == 1 else pixels,
        cmap="gray",
        vmin=0,
        vmax=255 if pixels.dtype == np.uint8 else 1,
        interpolation="nearest" if max(height, width) <= _PIXELS_UP_TO else "antialiased",
    )
