"""``python -m experiments.runs [RUN …]``: what is below runs/, and how do chosen runs differ?"""

from experiments.tools.runs import main

if __name__ == "__main__":
    main()
