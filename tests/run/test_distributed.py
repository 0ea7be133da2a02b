"""Two real processes over loopback: one result, one folder, and an orderly end when one of them is gone."""

import csv
import json
import random
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from jaxpsn.run import status
from tests import devices as processes

HERE = Path(__file__).parent
SCRIPT, CONTROL = HERE / "cluster.py", HERE.parents[1] / "experiments" / "control.py"
pytestmark = pytest.mark.timeout(1800)  # processes that load JAX, on a machine that may be busy
LONG = ("steps=40000000", "chunk=80", "eval_every=0", "checkpoint_every=160")
SHORT = ("steps=320", "chunk=40", "eval_every=160", "checkpoint_every=80")
PATIENT = 550


def start(*arguments, devices=1, script=SCRIPT, **environment):
    env = processes.environment(devices) | {"PYTHONPATH": str(HERE.parents[1])} | environment
    return subprocess.Popen(
        [sys.executable, str(script), *map(str, arguments)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        env=env, start_new_session=True,
    )  # fmt: skip


def port():
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return free.getsockname()[1]


def job_id():
    """A job whose port, 61440 + job % 4096 as JAX makes it, is free."""
    while True:
        job = random.randrange(4096)
        with socket.socket() as free:
            if free.connect_ex(("127.0.0.1", 61440 + job)):
                return str(job)


def pair(*arguments, own=((), ()), devices=1):
    """Two processes that know each other."""
    where = ("mesh=data=2", f"coordinator=127.0.0.1:{port()}", "processes=2", "peer_timeout=20")
    return [start(*arguments, *where, f"process={index}", *own[index], devices=devices) for index in (0, 1)]


def ends(*processes):
    """Status, stdout and stderr of each; none outlives the call."""
    try:
        told = [process.communicate(timeout=PATIENT) for process in processes]
    finally:
        for process in processes:
            process.kill()
            process.communicate()
    return [(process.returncode, *said) for process, said in zip(processes, told, strict=True)]


def rows(run):
    with (run / "metrics.csv").open() as file:
        return list(csv.DictReader(file))


def until(there, *processes):
    for _ in range(20 * PATIENT):
        assert all(process.poll() is None for process in processes), ends(*processes)
        if there():
            return
        time.sleep(0.05)
    raise AssertionError("it did not get there")


def saved(run, step):
    try:
        return any(int(path.name) >= step for path in (run / "checkpoints").iterdir() if path.name.isdigit())
    except FileNotFoundError:
        return False


def test_two_processes_make_one_run(tmp_path):
    made = ends(
        *pair(*SHORT, f"out={tmp_path}", "name=two"),
        start(*SHORT, "mesh=data=2", f"out={tmp_path}", "name=one", devices=2),
    )
    assert [code for code, _, _ in made] == [0, 0, 0], made
    assert len({out for _, out, _ in made}) == 1, "the weights are the same to the last bit"
    two, one = tmp_path / "two", tmp_path / "one"
    assert [row["loss"] for row in rows(two)] == [row["loss"] for row in rows(one)]
    newest = two / "checkpoints" / "320"
    shards = {f"shards-{i}.{end}" for i in (0, 1) for end in ("json", "safetensors")}
    assert {path.name for path in newest.iterdir()} == {"checkpoint.json"} | shards
    session = json.loads((two / "config.json").read_text())["sessions"][0]
    assert (session["processes"], session["devices"], session["mesh"]) == (2, 2, "data=2")
    assert [event["event"] for event in events(two)].count("start") == 1 and "writing to" not in made[1][2]
    flags = (f"resume={two}", "steps=400", *SHORT[1:], "mesh=data=4")
    code, _, said = ends(start(*flags, devices=4))[0]
    assert code == 0 and "mesh = 'data=4' (was 'data=2')" in said, said
    assert int(rows(two)[-1]["step"]) == 400


def events(run):
    return [json.loads(line) for line in (run / "events.jsonl").read_text().splitlines()]


@pytest.mark.parametrize("victim", [1, 0])
def test_the_survivor_of_a_kill_ends_with_one_line_and_one_process_goes_on(tmp_path, victim):
    processes, run = pair(*LONG, f"out={tmp_path}", "name=run"), tmp_path / "run"
    until(lambda: saved(run, 320), *processes)
    processes[victim].send_signal(signal.SIGKILL)
    killed = time.monotonic()
    code, out, said = ends(*processes)[1 - victim]
    assert time.monotonic() - killed < 60, "within a bounded time"
    assert code == status.PEER_LOST and out == "", (code, said)
    lines = [line for line in said.splitlines() if line.startswith("error:")]
    assert len(lines) == 1 and lines[0] == said.splitlines()[-1] and "Traceback" not in said, said
    assert f"go on with --resume {run}" in lines[0] and "last good checkpoint is" in lines[0]
    before = max(int(path.name) for path in (run / "checkpoints").iterdir() if path.name.isdigit())
    done = ends(start(f"resume={run}", f"steps={before + 80}", *LONG[1:]))[0]
    assert done[0] == 0, done
    assert int(rows(run)[-1]["step"]) == before + 80


def test_a_signal_to_one_stops_both_after_the_same_chunk(tmp_path):
    processes, run = pair(*LONG, f"out={tmp_path}", "name=run"), tmp_path / "run"
    until(lambda: saved(run, 160), *processes)
    processes[1].send_signal(signal.SIGTERM)
    made = ends(*processes)
    assert [code for code, _, _ in made] == [143, 143], made
    step = int(rows(run)[-1]["step"])
    assert (run / "checkpoints" / str(step) / "shards-1.json").exists()


def test_processes_that_differ_are_refused_in_one_line(tmp_path):
    made = ends(*pair(*SHORT, f"out={tmp_path}", own=(("task=a",), ("task=b", "chunk=80"))))
    for code, _, said in made:
        assert code == 2
        said = said.splitlines()[-1]
        assert "process 1 of 2 differs from process 0: run.chunk = 80 (process 0: 40), task = 'b'" in said
    assert not list(tmp_path.iterdir())


@pytest.mark.slow
def test_one_that_is_stuck_ends_the_others(tmp_path):
    short = ("peer_timeout=2",)
    processes = pair(*LONG, f"out={tmp_path}", own=((*short,), (*short, "stuck_at=5")))
    code, _, said = processes[0].wait(PATIENT), *processes[0].communicate()
    ends(*processes)
    assert code == status.PEER_LOST, said
    assert "process 1 of 2 did not answer" in said.splitlines()[-1] or "is stuck" in said.splitlines()[-1]


@pytest.mark.slow
def test_one_that_is_late_is_waited_for(tmp_path):
    made = ends(*pair(*SHORT, f"out={tmp_path}", "name=run", own=((), ("late=40",))))
    assert [code for code, _, _ in made] == [0, 0], made


@pytest.mark.slow
def test_who_waits_for_nobody_says_so(tmp_path):
    flags = (f"out={tmp_path}", f"coordinator=127.0.0.1:{port()}", "processes=2", "process=0", "start_timeout=3")
    code, _, said = ends(start(*SHORT, *flags, "mesh=data=2"))[0]
    assert code == status.PEER_LOST
    assert "not all others came within 3 s" in said.splitlines()[-1]


def test_control_trains_under_slurm(tmp_path):
    slurm = {"SLURM_JOB_ID": job_id(), "SLURM_STEP_NODELIST": "localhost", "SLURM_NTASKS": "2"}
    flags = ("--preset", "smoke", "--mesh", "data=2", "--out", tmp_path, "--name", "run", "--progress", "plain")
    made = ends(
        *(start(*flags, script=CONTROL, **slurm, SLURM_PROCID=index, SLURM_LOCALID=index) for index in ("0", "1"))
    )
    assert [code for code, _, _ in made] == [0, 0], made
    assert made[0][1].split() == [str(tmp_path / "run")] and made[1][1] == ""
    assert (tmp_path / "run" / "report.html").exists() and float(rows(tmp_path / "run")[-1]["eval_return"]) > 0.5
