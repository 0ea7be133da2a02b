"""Train a policy with parameter-space noise: `python experiments/control.py [--preset NAME] [--resume RUN] [flags]`.

The same as `jaxpsn train`.
"""

import sys

from jaxpsn import cli

if __name__ == "__main__":
    sys.exit(cli.main(["train", *sys.argv[1:]]))
