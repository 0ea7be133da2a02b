"""Who holds a unit, and what is left of it for others to read."""

import json
import os
import subprocess
import sys
import threading

import pytest

from jaxpsn.core.errors import UserError
from jaxpsn.run import status
from jaxpsn.study import units
from jaxpsn.study.units import Lines, Result, Unit


def put(folder, **changes):
    """A claim of another process."""
    told = {"host": "elsewhere", "pid": 1, "token": "theirs"} | changes
    folder.mkdir(parents=True, exist_ok=True)
    (folder / units.CLAIM).write_text(json.dumps(told))


def holder(folder):
    return json.loads((folder / units.CLAIM).read_text())


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.setattr(units, "SILENCE", 0.5)
    monkeypatch.delenv("SLURM_JOB_ID", raising=False)
    return units.place(tmp_path, Unit("arm", "task", "one"))


def test_units_are_their_texts_and_folders(tmp_path):
    unit = Unit("base", "task")
    assert Unit.of(str(unit)) == unit and units.place(tmp_path, unit) == tmp_path / "units" / "base" / "task"
    with pytest.raises(UserError, match="unit = 'arm': KIND/TASK/ARM"):
        Unit.of("arm")


def test_a_claim_is_held_and_given_up(folder):
    with units.claimed(folder):
        assert holder(folder)["pid"] == os.getpid()
        units.end(folder, Result(2, "no\nroom"))
        assert units.ended(folder) == Result(2, "no room")
    assert not (folder / units.CLAIM).exists()
    with units.claimed(folder):
        assert units.ended(folder) is None, "that was the worker before"


def test_a_living_process_of_this_host_keeps_its_unit(folder):
    other = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    put(folder, host=units.socket.gethostname(), pid=other.pid)
    with pytest.raises(UserError, match=rf"in use by another worker \(pid {other.pid} on"), units.claimed(folder):
        pass
    other.kill()
    other.communicate()
    with units.claimed(folder):
        assert holder(folder)["pid"] == os.getpid()


def test_another_host_keeps_its_unit_as_long_as_it_says_so(folder, monkeypatch):
    put(folder)
    stop = threading.Event()

    def beat():
        while not stop.wait(0.05):
            os.utime(folder / units.CLAIM)

    thread = threading.Thread(target=beat)
    thread.start()
    try:
        with pytest.raises(UserError, match="pid 1 on elsewhere"), units.claimed(folder):
            pass
    finally:
        stop.set()
        thread.join()
    with units.claimed(folder):
        assert holder(folder)["pid"] == os.getpid(), "it was silent for long"


def test_a_job_that_begins_again_has_its_unit_at_once(folder, monkeypatch):
    monkeypatch.setenv("SLURM_JOB_ID", "7")
    monkeypatch.setattr(units, "SILENCE", 1e9)
    put(folder, job="7")
    with units.claimed(folder):
        assert holder(folder)["job"] == "7"


@pytest.mark.parametrize("content", ["", "{", "[]", '{"pid": "x"}'])
def test_a_claim_that_says_nothing_is_watched_too(folder, content):
    folder.mkdir(parents=True)
    (folder / units.CLAIM).write_text(content)
    with units.claimed(folder):
        assert holder(folder)["pid"] == os.getpid()


def test_who_lost_a_claim_ends_and_leaves_the_other_s(folder, monkeypatch, capsys):
    monkeypatch.setattr(units, "BEAT", 0.05)
    gone = []
    own = {"host": "here", "pid": 1, "token": "mine"}
    put(folder)
    units._beat(folder / units.CLAIM, own, threading.Event(), gone.append)
    assert gone == [status.PEER_LOST] and "its claim was taken" in capsys.readouterr().err
    with units.claimed(folder):
        put(folder, token="new")
    assert holder(folder)["token"] == "new"


def test_a_claim_that_came_meanwhile_is_put_back(folder):
    put(folder, token="new")
    units._put_aside(folder / units.CLAIM, {"host": "elsewhere", "pid": 1, "token": "old"})
    assert holder(folder)["token"] == "new" and len(list(folder.iterdir())) == 1
    units._put_aside(folder / units.CLAIM, holder(folder))
    assert not list(folder.iterdir())


def test_whole_lines_are_told_once(folder):
    folder.mkdir(parents=True)
    units.say(folder, "before")
    lines = Lines()
    lines.follow(folder)
    assert lines.new(folder) == []
    units.say(folder, "one")
    with (folder / units.SAID).open("a") as file:
        file.write("ha")
    assert lines.new(folder) == ["one"]
    with (folder / units.SAID).open("a") as file:
        file.write("lf\n")
    assert lines.new(folder) == ["half"] and lines.new(folder) == []
