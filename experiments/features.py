"""``python -m experiments.features --model resnet50 images/``: features of a layer, neighbours."""

from experiments.tools.features import main

if __name__ == "__main__":
    main()
