"""``python -m experiments.bench train_step``: speed compared with PyTorch and plain Flax."""

from experiments.tools.bench.command import main

if __name__ == "__main__":
    main()
