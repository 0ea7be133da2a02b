"""Judge policies: `python experiments/evaluate.py --policy RUN [--against RUN:base] [flags]`.

The same as `jaxpsn evaluate`.
"""

import sys

from jaxpsn import cli

if __name__ == "__main__":
    sys.exit(cli.main(["evaluate", *sys.argv[1:]]))
