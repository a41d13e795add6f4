"""``python -m experiments.generate --run RUN``: text or images that a network makes."""

from experiments.tools.generate import main

if __name__ == "__main__":
    main()
