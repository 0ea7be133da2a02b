"""Studies as jobs of submitit: its local executor in every run of the tests, a Slurm of our own behind a marker.

``python -m pytest -m slurm tests/study/test_launchers.py`` (``make test-slurm``) starts munge, slurmctld and slurmd on
loopback, as root, where Debian's packages are installed: apt-get install slurmctld slurmd slurm-client munge.
"""

import csv
import json
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from jaxpsn.core.errors import UserError
from jaxpsn.report import build as reports
from jaxpsn.run import status
from jaxpsn.study import launchers, units
from jaxpsn.study.control.config import StudyConfig
from jaxpsn.study.kinds import control as job
from jaxpsn.study.kinds.control import ControlStudy
from jaxpsn.study.launchers import LAUNCHERS
from jaxpsn.study.launchers import slurm as slurm_launcher
from jaxpsn.study.units import Unit

HERE = Path(__file__).parent
UNTIMED = ("seconds", "steps_per_second")
FIELDS = {"arms": ("gaussian",), "seeds": 2, "steps": 160, "chunk": 40, "eval_every": 80, "checkpoint_every": 0}
LOCAL = "slurm(cluster=local, grace=5)"


def table(path):
    with (path / "metrics.csv").open() as file:
        return [{name: cell for name, cell in row.items() if name not in UNTIMED} for row in csv.DictReader(file)]


def jobs(path, *labels):
    """The numbers of the jobs of the arms, once they were submitted."""
    files = [path / "units" / "arm" / "probe-action" / label / slurm_launcher.JOB for label in labels]
    wait(lambda: all(file.is_file() for file in files))
    return [json.loads(file.read_text())["job"] for file in files]


def wait(until, seconds=120):
    begun = time.monotonic()
    while not until():
        assert time.monotonic() - begun < seconds
        time.sleep(0.1)


def rows_of(path):
    file = path / "metrics.csv"
    return len(file.read_text().splitlines()) if file.is_file() else 0


STUDY = """
import sys
from jaxpsn.study import launchers
from jaxpsn.study.control.config import StudyConfig
from jaxpsn.study.kinds import control
launchers.WORKER = "slow_worker"
config = StudyConfig(arms=("gaussian",), seeds=2, steps=160, chunk=40, eval_every=80, checkpoint_every=0,
                     launcher=sys.argv[2], out=sys.argv[1], name="s", progress="plain")
control.run(control.StudyJob(control.PRESETS["smoke"].control, config))
"""


def begin(out, launcher):
    """A process of its own with the same study."""
    script = [sys.executable, "-c", STUDY, str(out), launcher]
    return subprocess.Popen(script, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def meanwhile(action):
    thread = threading.Thread(target=action, daemon=True)
    thread.start()
    return thread


@pytest.fixture
def compare(tmp_path, monkeypatch):
    """``compare(launcher, **study) -> (exit status, study folder)`` of the fake program, slowed down."""
    monkeypatch.setattr(launchers, "WORKER", "slow_worker")
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(HERE), str(HERE.parents[1])]))
    monkeypatch.setattr(reports, "build", lambda path: path / "report.html")
    monkeypatch.setattr(slurm_launcher, "EVERY", 1.0)

    def run(launcher, resume=False, **fields):
        if launcher.startswith("slurm"):
            pytest.importorskip("submitit")
        place = {"resume": str(tmp_path / "s")} if resume else {"out": str(tmp_path), "name": "s"}
        old = vars(job.restore(ControlStudy.read(tmp_path / "s")).study) if resume else FIELDS | {"progress": "plain"}
        config = StudyConfig(**(old | fields | {"launcher": launcher} | place))
        return job.run(job.StudyJob(job.PRESETS["smoke"].control, config)), tmp_path / "s"

    return run


@pytest.fixture
def whole(compare, fake, monkeypatch, tmp_path):
    """The rows of the arm, made in this process without a cut."""
    from jaxpsn.study.control import making

    with monkeypatch.context() as patch:
        patch.setattr(making, "program", lambda control, steps, env: fake.Fake())
        patch.setattr(making, "environment", lambda control: None)
        code, path = compare("inline", progress="none")
    assert code == status.DONE
    path.rename(tmp_path / "whole")
    return table(tmp_path / "whole" / "arms" / "gaussian")


def test_a_worker_process_makes_the_rows_that_this_process_makes(compare, whole, tmp_path, capfd):
    code, path = compare("local(workers=1)")
    assert code == status.DONE and table(path / "arms" / "gaussian") == whole
    assert "jaxpsn: arm 1/1 gaussian: 160/160 steps" in capfd.readouterr().err, "its display is the study's"


@pytest.mark.slow
def test_workers_of_a_study_that_is_killed_save_and_end(compare, whole, tmp_path):
    arm = tmp_path / "s" / "arms" / "gaussian"
    study = begin(tmp_path, "local(workers=1)")
    wait(lambda: rows_of(arm) >= 5)
    study.kill()
    study.wait()
    wait(lambda: '"signal"' in (arm / "events.jsonl").read_text())
    assert compare("local(workers=1)", resume=True)[0] == status.DONE and table(arm) == whole


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("slurm(time_limit=0)", "slurm.time_limit = 0: a whole number"),
        ("slurm(partitions=gpu)", "slurm.partitions = 'gpu': unknown; nearest: partition"),
        ("slurm(cluster=local, partition=gpu)", "slurm.partition = 'gpu': left out, as slurm.cluster is local"),
        ("slurm(cluster=local, cpus=2)", "slurm.cpus = 2: left out, as slurm.cluster is local"),
    ],
)
def test_settings_that_cannot_be(text, said):
    with pytest.raises(UserError) as caught:
        LAUNCHERS.make(text, "launcher")
    assert said in str(caught.value) and "\n" not in str(caught.value)


def test_a_study_without_submitit_or_slurm_leaves_nothing(tmp_path, compare, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(UserError, match="launcher = 'slurm': a host with Slurm"):
        compare("slurm")
    monkeypatch.setattr(slurm_launcher.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(UserError, match=r"needs submitit: pip install 'jaxpsn\[slurm\]'"):
        compare("slurm")
    assert not (tmp_path / "s").exists()


def test_a_job_that_is_preempted_goes_on_where_it_was(compare, whole, tmp_path, capsys):
    arm = tmp_path / "s" / "arms" / "gaussian"

    def preempt():
        number = jobs(tmp_path / "s", "gaussian")[0]
        wait(lambda: rows_of(arm) >= 5)  # a chunk was made
        inner = Path(f"/proc/{number}/task/{number}/children").read_text().split()  # of submitit's controller
        os.kill(int(inner[0]), signal.SIGUSR2)

    thread = meanwhile(preempt)
    code, path = compare(LOCAL)
    thread.join()
    assert code == status.DONE and table(arm) == whole
    events = [json.loads(line)["event"] for line in (arm / "events.jsonl").read_text().splitlines()]
    assert "signal" in events and "resume" in events
    log = (path / "units" / "arm" / "probe-action" / "gaussian" / units.LOG).read_text()
    assert "going on with" in log and "arm 1/1 gaussian: 160/160 steps" in log


@pytest.mark.slow
def test_a_signal_to_the_study_lets_its_jobs_save(compare, whole, tmp_path, capsys):
    arm = tmp_path / "s" / "arms" / "gaussian"

    def interrupt():
        wait(lambda: rows_of(arm) >= 5)
        os.kill(os.getpid(), signal.SIGTERM)

    thread = meanwhile(interrupt)
    code, path = compare(LOCAL)
    thread.join()
    assert code == status.TERMINATED and f"--resume {path}" in capsys.readouterr().err
    assert [one.name for one in (arm / "checkpoints").iterdir()], "the worker saved"
    assert compare(LOCAL, resume=True)[0] == status.DONE and table(arm) == whole


@pytest.mark.slow
def test_a_worker_that_is_killed_is_started_again(compare, whole, tmp_path, capsys):
    arm, unit = (
        tmp_path / "s" / "arms" / "gaussian",
        units.place(tmp_path / "s", Unit("arm", "probe-action", "gaussian")),
    )

    def kill():
        wait(lambda: rows_of(arm) >= 5)
        os.kill(json.loads((unit / units.CLAIM).read_text())["pid"], signal.SIGKILL)

    thread = meanwhile(kill)
    assert compare(LOCAL)[0] == status.DONE and table(arm) == whole
    thread.join()
    assert "arm 1/1 gaussian: its worker is lost; started again" in capsys.readouterr().err


@pytest.mark.slurm
def test_units_are_arrays_and_a_requeued_job_goes_on(slurm, compare, whole, tmp_path):
    path = tmp_path / "s"
    arm = path / "arms" / "gaussian"

    def requeue():
        numbers = jobs(path, "gaussian", "none")
        assert [number.rpartition("_")[2] for number in numbers] == ["0", "1"], "an array"
        wait(lambda: rows_of(arm) >= 5)
        subprocess.run(["scontrol", "requeue", numbers[0]], check=True)

    thread = meanwhile(requeue)
    code, _ = compare("slurm(cpus=1, time_limit=30)", arms=("gaussian", "none"))
    thread.join()
    assert code == status.DONE and table(arm) == table(path / "arms" / "none") == whole, "the fake knows no rules"
    events = [json.loads(line)["event"] for line in (arm / "events.jsonl").read_text().splitlines()]
    assert "resume" in events


@pytest.mark.slurm
def test_a_job_that_comes_to_its_time_limit_goes_on(slurm, compare, whole, tmp_path):
    arm = tmp_path / "s" / "arms" / "gaussian"

    def warn():
        number = jobs(tmp_path / "s", "gaussian")[0]
        wait(lambda: rows_of(arm) >= 5)
        subprocess.run(["scancel", "--signal=USR2", number], check=True)  # what Slurm sends before the limit

    thread = meanwhile(warn)
    assert compare("slurm(cpus=1, time_limit=30)")[0] == status.DONE and table(arm) == whole
    thread.join()
    assert "resume" in (arm / "events.jsonl").read_text()


@pytest.mark.slurm
def test_a_cancelled_job_is_left_for_later(slurm, compare, whole, tmp_path):
    arm = tmp_path / "s" / "arms" / "gaussian"

    def cancel():
        number = jobs(tmp_path / "s", "gaussian")[0]
        wait(lambda: rows_of(arm) >= 5)
        subprocess.run(["scancel", number], check=True)

    thread = meanwhile(cancel)
    with pytest.raises(UserError, match="left for later: arm 1/1 gaussian; go on with"):
        compare("slurm(cpus=1)")
    thread.join()
    assert list((arm / "checkpoints").iterdir()), "it saved"
    assert compare("slurm(cpus=1)", resume=True)[0] == status.DONE and table(arm) == whole


@pytest.mark.slurm
@pytest.mark.parametrize(
    ("launcher", "said"),
    [
        ("slurm(cpus=1000)", "does not start: PartitionConfig"),
        ("slurm(partition=nowhere)", "sbatch: error: Batch job submission failed: Invalid partition name specified"),
        ("slurm(cpus=1, gpus=1)", "launcher = 'slurm': what this cluster takes: sbatch: error"),
        ("slurm(cpus=1, partition=short, time_limit=30)", "does not start: PartitionTimeLimit"),
    ],
)
def test_a_job_that_never_starts_ends_the_study(slurm, compare, tmp_path, launcher, said):
    with pytest.raises(UserError) as caught:
        compare(launcher)
    assert said in str(caught.value) and "\n" not in str(caught.value)
    assert not (tmp_path / "s").exists(), "nothing was begun"
    wait(lambda: not subprocess.run(["squeue", "--noheader"], capture_output=True).stdout.strip())


@pytest.mark.slurm
def test_a_job_that_waits_too_long_ends_the_study(slurm, compare, tmp_path):
    host = os.uname().nodename.split(".")[0]
    subprocess.run(["scontrol", "update", f"nodename={host}", "state=drain", "reason=test"], check=True)
    try:
        with pytest.raises(UserError, match=r"does not start: .*, after 0\.05 minutes \(slurm\.wait\)"):
            compare("slurm(cpus=1, wait=0.05)")
    finally:
        subprocess.run(["scontrol", "update", f"nodename={host}", "state=resume"], check=True)


@pytest.mark.slurm
def test_jobs_outlive_a_study_that_is_killed_and_are_found_again(slurm, compare, whole, tmp_path):
    path = tmp_path / "s"
    arm = path / "arms" / "gaussian"
    study = begin(tmp_path, "slurm(cpus=1)")
    number = jobs(path, "gaussian")[0]
    wait(lambda: rows_of(arm) >= 5)
    study.kill()
    study.wait()
    assert compare("slurm(cpus=1)", resume=True)[0] == status.DONE and table(arm) == whole
    assert jobs(path, "gaussian")[0] == number, "the same job"
    assert "resume" not in (arm / "events.jsonl").read_text(), "it was never cut"
