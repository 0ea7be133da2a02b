"""Workers answer in time or are ended, and nothing that they started outlives them."""

import os
import time

import pytest

from jaxpsn.core import processes
from jaxpsn.core.processes import READY, Silence

MODULE = "tests.core.echoing"


@pytest.fixture
def worker():
    made = processes.Worker(MODULE, "hello")
    yield made
    made.end()


def asked(worker, message, seconds=60.0):
    worker.ask(message, seconds)
    return worker.reply()


def test_a_worker_answers_and_its_prints_are_no_answers(worker):
    assert worker.reply() == READY
    assert asked(worker, "\ud800 and\nmore") == ["hello", "\ud800 and\nmore"]
    assert asked(worker, ["x" * 300_000])[1] == ["x" * 300_000]


def test_the_first_that_answers_is_heard_and_the_others_are_waited_for(worker):
    other = processes.Worker(MODULE, "other")
    try:
        assert worker.reply() == other.reply() == READY
        worker.ask("sleep", 1.0)
        other.ask("die", 60.0)
        assert processes.replies([worker, other]) == {other: Silence.ENDED}
        assert processes.replies([worker]) == {worker: Silence.LATE}
        assert asked(other, "again") is Silence.ENDED
    finally:
        other.end()


def test_what_went_wrong_is_told():
    worker = processes.Worker(MODULE, "no")
    try:
        assert worker.reply() == {"error": "ValueError in line 13 of echoing.py: not so"}
    finally:
        worker.end()


def _lives(process):
    try:
        with open(f"/proc/{process}/stat") as stat:
            return stat.read().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


@pytest.mark.skipif(not os.path.isdir("/proc/self"), reason="processes are looked up in /proc")
def test_what_a_worker_started_ends_with_it(worker):
    worker.reply()
    child = asked(worker, "child")
    assert _lives(child)
    worker.end()
    for _ in range(600):
        if not _lives(child):
            return
        time.sleep(0.05)
    raise AssertionError("the child outlives its parent")
