"""The fake program of the runs, for studies of it, and a Slurm of our own."""

import importlib.util
from pathlib import Path

import pytest

HERE = Path(__file__).parent


def _module(file):
    spec = importlib.util.spec_from_file_location(file.stem, file)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="session")
def fake():
    """The module of the fake program."""
    return _module(HERE.parent / "run" / "fake.py")


@pytest.fixture(scope="session")
def slurm():
    """A Slurm of one node on this host, whose commands find it."""
    with _module(HERE / "cluster_of_one.py").started():
        yield
