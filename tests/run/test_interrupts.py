"""What a signal does where the process is the run's own, and where a notebook's cell would go on after it."""

import os
import signal
import sys
import time
import types

import pytest

from jaxpsn.run.interrupts import Interrupts


def _inside(monkeypatch, shell):
    monkeypatch.setitem(sys.modules, "IPython", types.SimpleNamespace(get_ipython=lambda: shell))
    monkeypatch.delattr(sys, "ps1", raising=False)


def _send(signum, seen=lambda: False):
    """Send and wait: until it was ``seen``, or until it raises."""
    os.kill(os.getpid(), signum)
    limit = time.monotonic() + 60  # the watching thread takes its time, on a busy machine more
    while not seen() and time.monotonic() < limit:
        time.sleep(0.01)


def test_a_notebook_tool_that_is_only_imported_changes_nothing(monkeypatch):
    _inside(monkeypatch, None)
    said = []
    with Interrupts(said.append, lambda: None) as interrupts:
        interrupts.idle = False
        _send(signal.SIGTERM, lambda: said and interrupts.name)
    assert interrupts.name == "SIGTERM"
    assert said == ["SIGTERM: finishing this chunk, then saving (again to stop at once)"]


def test_in_a_notebook_the_second_signal_raises_and_the_process_lives(monkeypatch):
    _inside(monkeypatch, object())
    with pytest.raises(KeyboardInterrupt), Interrupts(print, lambda: pytest.fail("left")) as interrupts:
        interrupts.idle = False
        _send(signal.SIGINT, lambda: interrupts.name)
        assert interrupts.name == "SIGINT"
        _send(signal.SIGINT)


def test_in_a_notebook_a_signal_before_the_first_step_raises_at_once(monkeypatch):
    _inside(monkeypatch, object())
    with pytest.raises(KeyboardInterrupt), Interrupts(print, lambda: pytest.fail("left")):
        _send(signal.SIGINT)
