"""Train a policy with parameter-space noise: `python experiments/control.py [--preset NAME] [--resume RUN] [flags]`."""

import sys

from jaxpsn.run import startup


def main() -> int:
    """Run the control job that the command line asks for."""
    from jaxpsn.run.jobs import control

    return control.main(sys.argv[1:])


if __name__ == "__main__":
    sys.exit(startup.script(main))
