"""A worker for test_processes.py: it repeats what it is told, or does what the word says."""

import os
import subprocess
import time

from jaxpsn.core import processes


def setup(message):
    """Refuse ``no``."""
    if message == "no":
        raise ValueError("not so")

    def answer(word):
        print("not for the parent", flush=True)
        if word == "child":
            return subprocess.Popen(["sleep", "1000"]).pid
        if word == "sleep":
            time.sleep(1000)
        if word == "die":
            os._exit(3)
        return [message, word]

    return answer


if __name__ == "__main__":
    processes.serve(setup)
