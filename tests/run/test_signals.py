"""Signals at named points of a script: one line, the right status, nothing left, nothing swallowed."""

import contextlib
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from jaxpsn.run import status

ROOT = Path(__file__).resolve().parents[2]
SCRIPTED = Path(__file__).parent / "scripted.py"
OWN = """import os, signal, sys
signal.signal(signal.SIGINT, signal.SIG_DFL)
signal.signal(signal.SIGHUP, signal.Handlers(int(sys.argv[1])))
os.execv(sys.argv[2], sys.argv[2:])"""
STATUS = {"SIGINT": status.INTERRUPTED, "SIGTERM": status.TERMINATED, "SIGHUP": status.HUNG_UP}


@contextlib.contextmanager
def started(*line, **options):
    """The process of ``line``, whose handlers are Python's own whatever runs these tests; its output as text."""
    # Set by the process itself: a function between fork and exec would run in a process of many threads.
    hangup = int(options.get("hangup", signal.SIG_DFL))
    environment = os.environ | {"PYTHONPATH": str(ROOT), "PYTHONUNBUFFERED": "1"}
    line = [sys.executable, "-c", OWN, str(hangup), sys.executable, *map(str, line)]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    process = subprocess.Popen(line, env=environment, cwd=options.get("cwd"), **pipes)
    try:
        with process:
            yield process
    finally:
        process.kill()


def reads(stream, text):
    """Wait for the line of ``stream`` in which ``text`` stands."""
    for line in stream:
        if text in line:
            return line
    raise AssertionError(f"it ended without saying {text!r}")


def stopped(process, name):
    """Send the signal, wait for the end: status, lines of stdout and of stderr."""
    process.send_signal(getattr(signal, name))
    out, err = process.stdout.read(), process.stderr.read()
    return process.wait(), out.splitlines(), [line for line in err.splitlines() if "starting" not in line]


SAID = {
    "import": "ended before anything was begun", "native": "ended before anything was begun",
    "stage": "ended in the stage; go on with --resume", "inner": "ended in the stage; go on with --resume",
    "idle": "at once",
}  # fmt: skip
POINTS = [("import", "SIGINT"), ("import", "SIGTERM"), ("import", "SIGHUP"), ("native", "SIGINT"), ("stage", "SIGINT"),
          ("stage", "SIGTERM"), ("inner", "SIGHUP"), ("idle", "SIGTERM")]  # fmt: skip
"""One handler answers all signals: each is sent early, and one or two at each later point."""


@pytest.mark.parametrize(("point", "name"), POINTS)
def test_a_signal_ends_at_once_with_one_line_and_leaves_no_folder(point, name, tmp_path):
    with started(SCRIPTED, point, tmp_path / "run") as process:
        reads(process.stdout, point)
        code, out, err = stopped(process, name)
    assert (code, err) == (STATUS[name], [f"jaxpsn: {name}: {SAID[point]}"])
    assert out == (["left"] if point == "inner" else [])
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("name", STATUS)
def test_a_loop_finishes_and_keeps_its_folder(name, tmp_path):
    with started(SCRIPTED, "loop", tmp_path / "run") as process:
        reads(process.stdout, "loop")
        code, out, err = stopped(process, name)
    assert (code, err) == (STATUS[name], [])
    assert out[-2:] == [
        f"{name}: finishing this chunk, then saving (again to stop at once)", f"saved after {name}",
    ]  # fmt: skip
    assert [path.name for path in tmp_path.iterdir()] == ["run"]


@pytest.mark.parametrize("name", ["SIGINT", "SIGTERM"])
def test_a_second_signal_ends_at_once(name, tmp_path):
    with started(SCRIPTED, "loop", tmp_path / "run", "twice") as process:
        reads(process.stdout, "loop")
        process.send_signal(signal.SIGINT)
        reads(process.stdout, "lingers")
        code, _, err = stopped(process, name)
    assert (code, err) == (STATUS[name], [f"jaxpsn: {name}: at once"])
    assert (tmp_path / "run" / "checkpoints" / "8").is_dir()


def test_a_terminal_that_closes_sends_its_signal_twice(tmp_path):
    with started(SCRIPTED, "loop", tmp_path / "run") as process:
        reads(process.stdout, "loop")
        process.send_signal(signal.SIGHUP)
        code, out, err = stopped(process, "SIGHUP")
    assert (code, err, out[-1]) == (129, [], "saved after SIGHUP")


def test_nohup_is_respected(tmp_path):
    with started(SCRIPTED, "stage", tmp_path / "run", hangup=signal.SIG_IGN) as process:
        reads(process.stdout, "stage")
        process.send_signal(signal.SIGHUP)
        code, _, err = stopped(process, "SIGTERM")
    assert (code, err) == (143, ["jaxpsn: SIGTERM: ended in the stage; go on with --resume"])


def test_at_its_end_nothing_is_said_to_be_lost(tmp_path):
    with started(SCRIPTED, "none", tmp_path / "run") as process:
        assert process.wait() == 0
    assert (tmp_path / "run").is_dir()


SMOKE = ("--preset", "smoke", "--name", "a", "--progress", "plain")


@pytest.mark.parametrize(
    ("script", "flags", "line", "name", "said"),
    [
        ("control", SMOKE, "starting", "SIGINT", "ended before anything was begun"),
        ("control", SMOKE, "loading JAX and the physics ...", "SIGTERM", "ended before anything was begun"),
        ("control", SMOKE, "compiling the training step", "SIGINT", "ended before the first step"),
        ("rlvr", SMOKE, "loading JAX ...", "SIGHUP", "ended before anything was begun"),
        ("evaluate", ("--policy", "none"), "starting", "SIGTERM", "ended before anything was begun"),
    ],
)
def test_scripts_answer_while_they_start(script, flags, line, name, said, tmp_path):
    with started(ROOT / "experiments" / f"{script}.py", *flags, cwd=tmp_path) as process:
        reads(process.stderr, line)
        code, out, err = stopped(process, name)
    assert (code, out) == (STATUS[name], [])
    assert err[-1] == f"jaxpsn: {name}: {said}" and not any("Traceback" in one for one in err)
    assert not list(tmp_path.glob("runs/*"))


def test_a_run_that_is_stopped_after_its_last_step_says_how_to_go_on(tmp_path):
    script = ROOT / "experiments" / "control.py"
    with started(script, *SMOKE, "--steps", "320", "--eval-every", "0", cwd=tmp_path) as process:
        reads(process.stderr, "recording a rollout")
        code, out, err = stopped(process, "SIGTERM")
    left = "all steps are made and saved; the report is not written: --resume runs/a writes it"
    assert (code, out, err[-1]) == (143, [], f"jaxpsn: SIGTERM: {left}")
    assert (tmp_path / "runs" / "a" / "checkpoints" / "320").is_dir()
