"""``python -m experiments.generate --run RUN``: text that a language model writes."""

from experiments.tools.generate import main

if __name__ == "__main__":
    main()
