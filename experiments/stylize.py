"""``python -m experiments.stylize --run RUN photos/``: give images a style in one pass."""

from experiments.tools.stylize import main

if __name__ == "__main__":
    main()
