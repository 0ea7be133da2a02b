"""PSN-GRPO on a language model: `python experiments/rlvr.py [--preset NAME] [--model PATH --data FILE] [flags]`."""

import sys

from jaxpsn.run import startup


def main() -> int:
    """Run the reasoning job that the command line asks for."""
    from jaxpsn.run.jobs import rlvr

    return rlvr.main(sys.argv[1:])


if __name__ == "__main__":
    sys.exit(startup.script(main))
