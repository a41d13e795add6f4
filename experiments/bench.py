"""``python -m experiments.bench train_step|input|…``: speed, with PyTorch's and plain Flax's."""

from experiments.tools.bench.command import main

if __name__ == "__main__":
    main()
