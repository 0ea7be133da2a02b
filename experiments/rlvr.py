"""PSN-GRPO on a language model: `python experiments/rlvr.py [--preset NAME] [--model PATH --data FILE] [flags]`."""

import sys

from jaxpsn.training import startup


@startup.main_guard
def main() -> int:
    """Run the reasoning job that the command line asks for."""
    startup.speak("starting")
    from jaxpsn.training import rlvr

    return rlvr.main(sys.argv[1:])


if __name__ == "__main__":
    sys.exit(main())
