"""The fake program of the runs, for studies of it."""

import importlib.util
from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def fake():
    """The module of the fake program."""
    spec = importlib.util.spec_from_file_location("fake", Path(__file__).parents[1] / "run" / "fake.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
