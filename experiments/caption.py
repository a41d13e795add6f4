"""``python -m experiments.caption --run RUN photos/``: a sentence about each image."""

from experiments.tools.caption import main

if __name__ == "__main__":
    main()
