"""The worker of a study of control, of the fake program, that takes its time between chunks."""

import importlib.util
import sys
import time
from pathlib import Path

from jaxpsn.run import startup
from jaxpsn.study import worker


def prepare():
    from jaxpsn.run.loggers import sinks
    from jaxpsn.study.control import making

    spec = importlib.util.spec_from_file_location("fake", Path(__file__).parents[1] / "run" / "fake.py")
    fake = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(fake)
    making.program = lambda control, steps, env: fake.Fake()
    making.environment = lambda control: None
    write = sinks.Sinks.write

    def slow(self, rows):
        write(self, rows)
        time.sleep(1.0)

    sinks.Sinks.write = slow


def main():
    prepare()
    return worker.main()


if __name__ == "__main__":
    sys.exit(startup.script(main, greeting=None))
