"""``python -m experiments.detect --run RUN photos/``: the objects in images, with their boxes."""

from experiments.tools.detect import main

if __name__ == "__main__":
    main()
