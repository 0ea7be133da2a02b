"""Compare ways to explore: `python experiments/compare.py [--preset NAME] [--resume STUDY] [flags]`.

The same as `jaxpsn compare`.
"""

import sys

from jaxpsn import cli

if __name__ == "__main__":
    sys.exit(cli.main(["compare", *sys.argv[1:]]))
