"""Compare ways to explore with verifiable rewards: `python experiments/rlvr_compare.py [--quick] [--resume STUDY]`."""

import sys

from jaxpsn.run import startup


def main() -> int:
    """Run the study that the command line asks for."""
    from jaxpsn.study.kinds import reasoning

    return reasoning.main(sys.argv[1:])


if __name__ == "__main__":
    sys.exit(startup.script(main))
