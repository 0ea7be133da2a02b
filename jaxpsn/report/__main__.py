"""``python -m jaxpsn.report``: see :mod:`jaxpsn.report.command`."""

import sys

from jaxpsn.report.command import main

if __name__ == "__main__":
    sys.exit(main())
