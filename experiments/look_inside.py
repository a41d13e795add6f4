"""``python -m experiments.look_inside --model resnet50 image.jpg``: what does a network see?"""

from experiments.tools.look_inside import main

if __name__ == "__main__":
    main()
