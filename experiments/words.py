"""``python -m experiments.words --run RUN``: neighbours, analogies, tests and files of vectors."""

from experiments.tools.words import main

if __name__ == "__main__":
    main()
