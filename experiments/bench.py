"""``python -m experiments.bench train_step|input|…``: programs side by side, in one run."""

from experiments.tools.bench.command import main

if __name__ == "__main__":
    main()
