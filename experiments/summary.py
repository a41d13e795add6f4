"""``python -m experiments.summary resnet50``: layers, shapes, parameters, multiplications."""

from experiments.tools.summary import main

if __name__ == "__main__":
    main()
