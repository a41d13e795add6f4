"""The function of images that most methods here explain."""

from collections.abc import Callable

from jaxtyping import Array, Float

Images = Float[Array, "batch height width channels"]
Score = Callable[[Images], Float[Array, " batch"]]
"""One number per image, such as a logit. It must depend on that image alone."""
