"""``python -m experiments.segment --run RUN photos/``: the class of every pixel of images."""

from experiments.tools.segment import main

if __name__ == "__main__":
    main()
