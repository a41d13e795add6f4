"""One file a lecture claim, each a runnable setup: ``python -m experiments`` lists them."""
