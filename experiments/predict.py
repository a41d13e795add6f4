"""``python -m experiments.predict --model resnet50 images/*.jpg``: what is in these images?"""

from experiments.tools.predict import main

if __name__ == "__main__":
    main()
