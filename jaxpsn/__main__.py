"""``python -m jaxpsn`` is the command ``jaxpsn``."""

import sys

from jaxpsn import cli

if __name__ == "__main__":
    sys.exit(cli.main())
