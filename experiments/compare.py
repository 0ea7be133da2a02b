"""Compare ways to explore: `python experiments/compare.py [--preset NAME] [--resume STUDY] [flags]`."""

import sys

from jaxpsn.training import startup


@startup.main_guard
def main() -> int:
    """Run the comparison that the command line asks for."""
    startup.speak("starting")
    from jaxpsn.training.study import job

    return job.main(sys.argv[1:])


if __name__ == "__main__":
    sys.exit(main())
