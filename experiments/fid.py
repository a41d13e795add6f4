"""``python -m experiments.fid --run RUN``: FID and Inception Score of generated images."""

from experiments.tools.fid import main

if __name__ == "__main__":
    main()
