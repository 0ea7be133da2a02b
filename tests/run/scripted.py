"""A script as the experiments are: it names the points that it passes, and waits there to be sent a signal.

``python scripted.py POINT``: the points are ``import`` (while something is imported), ``stage``, ``inner`` (a stage
without words within it), ``loop``, ``idle``, ``native`` (the main thread is within a call that Python's own handlers
cannot leave) and ``end``.
"""

import sys
import threading
import time
from pathlib import Path

from jaxpsn.run import interrupts, startup, vacancy

POINT, FOLDER = sys.argv[1], Path(sys.argv[2])


def here(point):
    """Wait at the point that was asked for, within an import that swallows what is raised in it."""
    if point == POINT:
        print(point, flush=True)
        try:
            time.sleep(60)
        except BaseException:  # as some extension modules do
            print("swallowed", flush=True)


def main():
    here("import")
    FOLDER.mkdir()
    with vacancy.provisional(FOLDER, vacancy.trained):
        (FOLDER / "config.json").write_text("{}")
        with interrupts.stage("ended in the stage; go on with --resume"):
            here("stage")
            with interrupts.stage(leave=lambda: print("left", flush=True)):
                here("inner")
        with interrupts.Interrupts(lambda text: print(text, flush=True), lambda: None, "chunk", "at once") as asked:
            here("idle")
            asked.idle = False
            if POINT == "loop":
                print("loop", flush=True)
                while asked.signum is None:
                    time.sleep(0.01)
                (FOLDER / "checkpoints" / "8").mkdir(parents=True)
                (FOLDER / "checkpoints" / "8" / "array").write_text("")
                print(f"saved after {asked.name}", flush=True)
                linger()
        if POINT == "native":
            print("native", flush=True)
            threading.Lock().acquire()
            threading.Event().wait(60)
    here("end")
    return 128 + asked.signum if asked.signum else 0


def linger():
    if len(sys.argv) > 3:
        print("lingers", flush=True)
        time.sleep(60)


if __name__ == "__main__":
    sys.exit(startup.script(main))
