"""``python -m experiments.export --model resnet50``: a network that runs with JAX alone."""

from experiments.tools.export import main

if __name__ == "__main__":
    main()
