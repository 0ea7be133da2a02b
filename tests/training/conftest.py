"""The fake program, and runs of it in this process."""

import importlib.util
from pathlib import Path

import pytest

from jaxpsn.training import folder as folders
from jaxpsn.training.config import RunConfig

SCRIPT = Path(__file__).with_name("fake.py")


@pytest.fixture(scope="session")
def fake():
    """The module of the fake program."""
    spec = importlib.util.spec_from_file_location("fake", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def train(fake, tmp_path):
    """``train(program=None, task="a", **run) -> Outcome`` in ``tmp_path``; silent unless asked."""
    from jaxpsn.training import loop

    def run(program=None, task="a", **fields):
        fields = {"steps": 160, "chunk": 40, "eval_every": 80, "checkpoint_every": 40, "out": str(tmp_path)} | fields
        config = RunConfig(**({"progress": "none"} | fields))
        with folders.claim(config, {"task": task}) as folder:
            return loop.train(program or fake.Fake(), config, folder)

    return run
