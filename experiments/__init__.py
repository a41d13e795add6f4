"""One runnable file per claim of the lecture; ``python -m experiments`` lists them."""
