"""Judge policies: `python experiments/evaluate.py --policy RUN [--against RUN:base] [flags]`, or `--replay RUN`."""

import sys

from jaxpsn.run import startup


def main() -> int:
    """Do the evaluation that the command line asks for."""
    from jaxpsn.run.jobs import evaluate

    return evaluate.main(sys.argv[1:])


if __name__ == "__main__":
    sys.exit(startup.script(main))
