"""One runnable file per claim of the lecture; ``python -m experiments`` lists them."""

from cnn_jax.extras import MissingExtra, extra

try:
    with extra("experiments", "an experiment"):
        import cattrs  # noqa: F401
        import tyro  # noqa: F401
except MissingExtra as error:
    raise SystemExit(f"error: {error}") from None
