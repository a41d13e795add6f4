"""``python -m experiments.evaluate --models resnet50``: how accurate is it on ImageNet?"""

from experiments.tools.evaluate import main

if __name__ == "__main__":
    main()
