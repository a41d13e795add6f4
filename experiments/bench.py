"""``python -m experiments.bench train_step|sweep|startup``: programs side by side, in one run."""

from experiments.tools.bench import main

if __name__ == "__main__":
    main()
