"""Compare ways to explore: `python experiments/compare.py [--preset NAME] [--resume STUDY] [flags]`."""

import sys

from jaxpsn.run import startup


def main() -> int:
    """Run the comparison that the command line asks for."""
    from jaxpsn.study.kinds import control

    return control.main(sys.argv[1:])


if __name__ == "__main__":
    sys.exit(startup.script(main))
