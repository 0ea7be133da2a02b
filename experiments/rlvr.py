"""PSN-GRPO on a language model: `python experiments/rlvr.py [--preset NAME] [--model PATH --data FILE] [flags]`.

The same as `jaxpsn reason`.
"""

import sys

from jaxpsn import cli

if __name__ == "__main__":
    sys.exit(cli.main(["reason", *sys.argv[1:]]))
