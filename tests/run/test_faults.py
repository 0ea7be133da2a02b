"""What happens to a run as a user starts it: killed, signalled, out of disk, started twice."""

import csv
import json
import os
import random
import resource
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

SCRIPT = Path(__file__).with_name("fake.py")
ROOT = Path(__file__).resolve().parents[2]
LONG = {"steps": 24_000, "chunk": 400, "eval_every": 4000, "checkpoint_every": 400}
UNTIMED = ("seconds", "steps_per_second")


def start(tmp_path, **fields):
    given = [f"{name}={value}" for name, value in ({"out": tmp_path} | fields).items()]
    environment = os.environ | {"PYTHONPATH": str(ROOT), "JAX_PLATFORMS": "cpu"}
    return subprocess.Popen(
        [sys.executable, "-W", "error::DeprecationWarning:jaxpsn", SCRIPT, *given],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment,
    )  # fmt: skip


def finish(process, code=0):
    out, err = process.communicate(timeout=120)
    assert process.returncode == code and "Traceback" not in err, err
    return out.splitlines(), err


def events(folder):
    path = Path(folder) / "events.jsonl"
    lines = path.read_text().splitlines(keepends=True) if path.exists() else []
    return [json.loads(line) for line in lines if line.endswith("\n")]


def wait_for(folder, process, ready):
    """Until ``ready(events)`` holds; says why if the process ends first."""
    limit = time.monotonic() + 90
    while not ready(events(folder)):
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < limit
        time.sleep(0.005)


def count(kind):
    return lambda found: sum(event["event"] == kind for event in found)


def table(folder):
    with (Path(folder) / "metrics.csv").open() as file:
        return [{k: v for k, v in row.items() if k not in UNTIMED} for row in csv.DictReader(file)]


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """The uninterrupted run: its digest and its metrics."""
    path = tmp_path_factory.mktemp("whole")
    (digest, folder), err = finish(start(path, name="whole", **LONG))
    assert err.startswith("jaxpsn: starting\n")
    return digest, table(folder)


def _kill_and_resume(tmp_path, whole, kills, seed):
    random.seed(seed)
    folder, fields, killed = tmp_path / "a", {"name": "a"}, 0
    for number in range(kills):
        process = start(tmp_path, **fields, **LONG)
        begun = (number + 1) * 2  # each session compiles two programs, unless the one before had come to the end

        def ready(found, process=process, begun=begun):
            return process.poll() is not None or count("compile")(found) >= begun

        wait_for(folder, process, ready)
        time.sleep(random.uniform(0.0, 0.6 / kills))  # as a rule the run does not end before the last kill
        process.send_signal(signal.SIGKILL)
        _, err = process.communicate()
        assert process.returncode in (0, -signal.SIGKILL), err
        fields = {"resume": folder}
        if process.returncode == 0:  # on a quick or a busy machine it may
            break
        killed += 1
    (digest, _), _ = finish(start(tmp_path, **fields, **LONG))
    assert (digest, table(folder)) == whole
    committed = 0
    for event in events(folder):
        if event["event"] == "checkpoint":
            committed = max(committed, event["step"])
        if event["event"] in ("resume", "start"):
            assert event["step"] >= committed or event["detail"].startswith("no checkpoint")
    # The last kill may come when the run has ended and given back its lock.
    assert committed == 24_000 and killed and killed - count("lock")(events(folder)) in (0, 1)
    assert not [e for e in events(folder) if e["event"] == "fallback"]


def test_killed_at_random_times_it_ends_as_if_nothing_had_happened(tmp_path, whole):
    _kill_and_resume(tmp_path, whole, kills=3, seed=time.time_ns())


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(4))
def test_killed_twenty_times(tmp_path, whole, seed):
    _kill_and_resume(tmp_path, whole, kills=20, seed=seed)


@pytest.mark.parametrize(("signum", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_a_signal_ends_in_a_checkpoint_and_its_own_status(tmp_path, whole, signum, code):
    process = start(tmp_path, name="a", **(LONG | {"checkpoint_every": 0, "steps": 400_000_000}))
    metrics = tmp_path / "a" / "metrics.csv"
    wait_for(tmp_path / "a", process, lambda _: metrics.exists() and metrics.read_bytes().count(b"\n") > 2)
    process.send_signal(signum)
    out, err = finish(process, code)
    (step,) = (int(p.name) for p in (tmp_path / "a" / "checkpoints").iterdir())
    assert f"saved at step {step:,}; go on with --resume {tmp_path / 'a'}" in err
    assert out[-1] == str(tmp_path / "a") and events(tmp_path / "a")[-1]["event"] == "signal"


def test_a_signal_while_nothing_can_be_saved_ends_at_once(tmp_path):
    process = start(tmp_path, name="a", chunk=4000, steps=4000)
    wait_for(tmp_path / "a", process, lambda found: count("start")(found) == 1)
    process.send_signal(signal.SIGTERM)
    _, err = finish(process, 143)
    assert ("SIGTERM: ended before the first step" in err) != ("saved at step" in err)
    assert (tmp_path / "a").exists() == ("saved at step" in err), "a start that came to nothing leaves no folder"
    finish(start(tmp_path, chunk=4000, steps=4000, **({"resume": tmp_path / "a"} if "saved" in err else {"name": "a"})))


def test_a_second_signal_ends_at_once(tmp_path):
    """One chunk of hours: the first signal waits for it, the second does not."""
    process = start(tmp_path, name="a", chunk=1 << 31, steps=1 << 31, eval_every=0)
    wait_for(tmp_path / "a", process, lambda found: count("compile")(found) >= 1)
    time.sleep(1.5)
    process.send_signal(signal.SIGTERM)
    time.sleep(0.5)
    assert process.poll() is None
    begun = time.monotonic()
    process.send_signal(signal.SIGINT)
    _, err = finish(process, 130)
    assert time.monotonic() - begun < 2 and "SIGTERM: finishing this chunk" in err
    assert "SIGINT: stopped at once" in err


def test_a_full_disk_stops_at_that_save_and_loses_nothing(tmp_path, whole):
    """The limit on file sizes stands in for a full disk: writing fails in the same places."""
    process = start(tmp_path, name="a", **(LONG | {"steps": 400_000_000}))
    wait_for(tmp_path / "a", process, count("checkpoint"))
    resource.prlimit(process.pid, resource.RLIMIT_FSIZE, (100_000, resource.RLIM_INFINITY))
    _, err = finish(process, 2)
    said = [line for line in err.splitlines() if not line.startswith("jaxpsn: ")]
    assert len(said) == 1 and said[0].startswith("error: checkpoint at step ")
    assert "was not written: " in said[0] and "File too large" in said[0]
    steps = LONG["steps"]
    found = events(tmp_path / "a")
    if max(e["step"] for e in found) < steps:  # on a slow disk it may have been beyond already
        (digest, folder), _ = finish(start(tmp_path, resume=tmp_path / "a", **LONG))
        assert (digest, table(folder)) == whole


def test_the_second_run_in_a_folder_is_refused(tmp_path):
    first = start(tmp_path, name="a", **(LONG | {"steps": 400_000_000}))
    wait_for(tmp_path / "a", first, lambda found: count("compile")(found) >= 2)
    for fields in ({"resume": tmp_path / "a"}, {"name": "a", "overwrite": 1}):
        out, err = finish(start(tmp_path, **fields), 2)
        assert f"in use by another run (pid {first.pid} " in err and out == []
    first.kill()
    first.communicate()


def test_mistakes_are_one_line_on_stderr(tmp_path):
    out, err = finish(start(tmp_path, steps=0), 2)
    assert out == [] and err == "jaxpsn: starting\nerror: steps = 0: a whole number from 1 to 1125899906842624\n"


def test_nobody_listening_does_not_stop_a_run(tmp_path):
    process = start(tmp_path, name="a", **(LONG | {"checkpoint_every": 0}))
    process.stdout.close()
    process.stderr.close()
    assert process.wait(60) == 0
    assert events(tmp_path / "a")[-1]["event"] == "stop"
