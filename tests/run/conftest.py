"""The fake program, and runs of it in this process."""

import importlib.util
from pathlib import Path

import pytest

from jaxpsn.run import folder as folders
from jaxpsn.run.config import RunConfig

HERE = Path(__file__).parent


def _module(name):
    spec = importlib.util.spec_from_file_location(name, HERE / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="session")
def fake():
    """The module of the fake program."""
    return _module("fake")


@pytest.fixture(scope="session")
def fake_host():
    """The module of the fake program that works on the host."""
    return _module("fake_host")


@pytest.fixture(scope="session")
def placed():
    """The module of a state on eight devices."""
    return _module("placed")


@pytest.fixture
def train(fake, tmp_path):
    """``train(program=None, task="a", **run) -> Outcome`` in ``tmp_path``; silent unless asked."""
    from jaxpsn.run import loop

    def run(program=None, task="a", **fields):
        fields = {"steps": 160, "chunk": 40, "eval_every": 80, "checkpoint_every": 40, "out": str(tmp_path)} | fields
        config = RunConfig(**({"progress": "none"} | fields))
        with folders.claim(config, {"task": task}) as folder:
            return loop.train(program or fake.Fake(), config, folder)

    return run
