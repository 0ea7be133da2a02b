"""Compare ways to explore with verifiable rewards: `python experiments/rlvr_compare.py [--quick] [--resume STUDY]`.

The same as `jaxpsn reason-compare`.
"""

import sys

from jaxpsn import cli

if __name__ == "__main__":
    sys.exit(cli.main(["reason-compare", *sys.argv[1:]]))
