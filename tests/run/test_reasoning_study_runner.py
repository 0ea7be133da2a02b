"""The order, the cores, the failures and the cuts of a reasoning study, with workers that do their work at once."""

import json
import os
import signal
import sys
import threading
import time
from pathlib import Path
from types import SimpleNamespace

import pytest

from jaxpsn.core.errors import UserError
from jaxpsn.report import build as reports
from jaxpsn.run import startup, status
from jaxpsn.study.reasoning import job, record, runner, worker
from jaxpsn.study.reasoning.config import ReasoningStudyConfig

SMOKE = job.PRESETS["smoke"]


@pytest.fixture
def compare(tmp_path, monkeypatch):
    """``compare(behave={}, resume=False, **study) -> (exit status, study folder)``."""
    here = Path(__file__).parent
    monkeypatch.setattr(runner, "worker", SimpleNamespace(__name__="fake_worker", CORES=worker.CORES))
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(here), str(here.parents[1])]))
    monkeypatch.setattr(reports, "build", lambda path: path / "report.html")

    def run(behave=None, resume=False, **fields):
        (tmp_path / "behave.json").write_text(json.dumps(behave or {}))
        place = {"resume": str(tmp_path / "s")} if resume else {"out": str(tmp_path), "name": "s"}
        old = job.restore(record.read(tmp_path / "s")).study if resume else SMOKE.study
        fixed = {"grid": ()} if resume else {}
        config = ReasoningStudyConfig(**(vars(old) | {"workers": 2} | fixed | fields | place))
        return job.run(job.ReasoningStudyJob(SMOKE.rlvr, config)), tmp_path / "s"

    return run


def order(path):
    return [line.split(" ")[0] for line in (path / "order.txt").read_text().splitlines()]


def test_units_come_in_order_on_cores_of_their_own(compare, capsys):
    code, path = compare(tasks=("chain_sum", "grid"))
    assert code == status.DONE
    made = order(path)
    assert made[:2] == ["base/chain_sum/", "base/grid/"]
    first, second = made[2:5], made[5:]
    assert sorted(first) == ["arm/chain_sum/grpo", "arm/chain_sum/psn", "tune/chain_sum/psn"]
    assert first.index("tune/chain_sum/psn") < first.index("arm/chain_sum/psn")
    assert all("/grid/" in unit for unit in second) and len(second) == 3
    used = {line.split(" ")[1] for line in (path / "order.txt").read_text().splitlines()[2:]}
    if hasattr(os, "sched_getaffinity") and len(os.sched_getaffinity(0)) > 1:
        assert len(used) == 2 and not set.intersection(*(set(cores.split(",")) for cores in used))
    said = capsys.readouterr().err
    assert "chain_sum psn tuning: made" in said and "3 of 3 parts after 0 min" in said


def test_what_is_made_is_never_made_again(compare, capsys):
    _, path = compare()
    before = order(path)
    code, _ = compare(resume=True, arms=("entropy",), tune=True)
    assert code == status.DONE and order(path)[len(before) :] == ["tune/chain_sum/entropy", "arm/chain_sum/entropy"]
    said = capsys.readouterr().err
    assert "chain_sum grpo: 2 of 2 seeds finished before; kept" in said
    assert "warning: chain_sum grpo: kept runs were made with other versions" in said


def test_a_saturated_task_is_refused_with_its_figure(compare):
    with pytest.raises(UserError) as caught:
        compare(steps=8, saturation=0.9)
    assert "study.tasks = 'chain_sum': a task whose base stays below 0.9" in str(caught.value)
    assert "pass@8 = 1.000 before any training" in str(caught.value)


def test_a_worker_s_mistake_stops_the_study_and_what_was_made_stays(compare):
    with pytest.raises(UserError, match=r"chain_sum grpo: user of arm/chain_sum/grpo \(exit status 2; see .*log"):
        compare({"arm/chain_sum/grpo": "user"}, workers=1)
    code, path = compare(resume=True)
    assert code == status.DONE and order(path).count("base/chain_sum/") == 1


def test_a_worker_that_dies_is_told_of(compare):
    with pytest.raises(UserError, match="exit status 1"):
        compare({"tune/chain_sum/psn": "crash"}, workers=1)


def test_what_is_not_finite_does_not_stop_the_others(compare):
    code, path = compare({"arm/chain_sum/grpo": "not finite"}, workers=1)
    assert code == status.NOT_FINITE and "arm/chain_sum/psn" in order(path)


def test_a_signal_is_passed_on_once_and_the_study_says_how_to_go_on(compare, tmp_path, capsys):
    def interrupt():
        while not (tmp_path / "s" / "order.txt").exists():
            time.sleep(0.05)
        time.sleep(0.5)
        os.kill(os.getpid(), signal.SIGTERM)

    threading.Thread(target=interrupt, daemon=True).start()
    begun = time.monotonic()
    code, path = compare({"base/chain_sum/": "wait"})
    assert code == status.TERMINATED and time.monotonic() - begun < 20
    assert (tmp_path / "asked").exists(), "the worker was told to stop, not killed"
    said = capsys.readouterr().err
    assert "SIGTERM: finishing this step, then saving" in said
    assert f"the study goes on with: python experiments/rlvr_compare.py --resume {path}" in said
    assert compare(resume=True)[0] == status.DONE


def test_shares_of_cores_do_not_meet():
    cores = sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else None
    if cores is None:
        pytest.skip("this system does not tell cores apart")
    assert runner._shares(1) == [tuple(cores)]
    shares = runner._shares(len(cores))
    assert sorted(core for share in shares for core in share) == cores
    assert len(runner._shares(len(cores) + 1)) == len(cores) + 1


def test_the_worker_refuses_other_words(monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["worker"])
    assert startup.main_guard(worker.main)() == status.USER_ERROR
    assert "a study folder and a unit" in capsys.readouterr().err
