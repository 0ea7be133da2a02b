"""The order, the cores, the failures and the cuts of a study, with workers that do their work at once."""

import json
import os
import re
import signal
import sys
import threading
import time
from pathlib import Path

import pytest

from jaxpsn.core.errors import UserError
from jaxpsn.report import build as reports
from jaxpsn.run import startup, status
from jaxpsn.study import launchers, worker
from jaxpsn.study.kinds import reasoning as job
from jaxpsn.study.kinds.reasoning import ReasoningStudy
from jaxpsn.study.launchers import local
from jaxpsn.study.launchers.local import Local
from jaxpsn.study.reasoning.config import ReasoningStudyConfig
from jaxpsn.study.units import Result

SMOKE = job.PRESETS["smoke"]


@pytest.fixture
def compare(tmp_path, monkeypatch):
    """``compare(behave={}, resume=False, **study) -> (exit status, study folder)``."""
    here = Path(__file__).parent
    monkeypatch.setattr(launchers, "WORKER", "fake_worker")
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(here), str(here.parents[1])]))
    monkeypatch.setattr(reports, "build", lambda path: path / "report.html")

    def run(behave=None, resume=False, **fields):
        (tmp_path / "behave.json").write_text(json.dumps(behave or {}))
        place = {"resume": str(tmp_path / "s")} if resume else {"out": str(tmp_path), "name": "s"}
        old = job.restore(ReasoningStudy.read(tmp_path / "s")).study if resume else SMOKE.study
        fixed = {"grid": ()} if resume else {}
        config = ReasoningStudyConfig(**(vars(old) | {"launcher": "local(workers=2)"} | fixed | fields | place))
        return job.run(job.ReasoningStudyJob(SMOKE.rlvr, config)), tmp_path / "s"

    return run


def order(path):
    return [line.split(" ")[0] for line in (path / "order.txt").read_text().splitlines()]


def test_units_come_in_order_on_cores_of_their_own(compare, capsys):
    code, path = compare(tasks=("chain_sum", "grid"))
    assert code == status.DONE
    made = order(path)
    assert sorted(made[:2]) == ["base/chain_sum/", "base/grid/"] and len(made) == 8
    for task in ("chain_sum", "grid"):
        assert made.index(f"tune/{task}/psn") < made.index(f"arm/{task}/psn")
    used = {line.split(" ")[1] for line in (path / "order.txt").read_text().splitlines()}
    if hasattr(os, "sched_getaffinity") and len(os.sched_getaffinity(0)) > 1:
        assert len(used) == 2 and not set.intersection(*(set(cores.split(",")) for cores in used))
    said = capsys.readouterr().err
    assert "chain_sum psn tuning: made" in said and re.search(r"8 of 8 parts after \d+ min", said)


def test_what_is_made_is_never_made_again(compare, capsys):
    _, path = compare(arms=("grpo",), grid=())
    before = order(path)
    code, _ = compare(resume=True, arms=("entropy",), tune=True)
    assert code == status.DONE and order(path)[len(before) :] == ["tune/chain_sum/entropy", "arm/chain_sum/entropy"]
    said = capsys.readouterr().err
    assert "chain_sum grpo: finished before; kept" in said
    assert "warning: chain_sum grpo: made with other versions, and kept" in said


def test_a_saturated_task_is_refused_with_its_figure(compare):
    with pytest.raises(UserError) as caught:
        compare(steps=8, saturation=0.9)
    assert "study.tasks = 'chain_sum': a task whose base stays below 0.9" in str(caught.value)
    assert "pass@8 = 1.000 before any training" in str(caught.value)


def test_a_worker_s_mistake_stops_the_study_and_what_was_made_stays(compare):
    with pytest.raises(UserError, match=r"chain_sum grpo: user of arm/chain_sum/grpo$"):
        compare({"arm/chain_sum/grpo": "user"}, launcher="local(workers=1)", arms=("grpo",), grid=())
    code, path = compare(resume=True)
    assert code == status.DONE and order(path).count("base/chain_sum/") == 1


def test_a_worker_that_dies_is_told_of(compare):
    with pytest.raises(UserError, match="chain_sum psn tuning: crash of tune/chain_sum/psn"):
        compare({"tune/chain_sum/psn": "crash"}, launcher="local(workers=1)")


def test_what_is_not_finite_does_not_stop_the_others(compare):
    code, path = compare({"arm/chain_sum/grpo": "not finite"}, launcher="local(workers=1)")
    assert code == status.NOT_FINITE and "arm/chain_sum/psn" in order(path)


def test_a_signal_is_passed_on_once_and_the_study_says_how_to_go_on(compare, tmp_path, capsys):
    def interrupt():
        while not (tmp_path / "s" / "order.txt").exists():
            time.sleep(0.05)
        time.sleep(0.5)
        os.kill(os.getpid(), signal.SIGTERM)

    threading.Thread(target=interrupt, daemon=True).start()
    code, path = compare({"base/chain_sum/": "wait"}, arms=("grpo",), grid=())
    assert code == status.TERMINATED
    assert (tmp_path / "asked").exists(), "the worker was told to stop, neither killed nor waited for"
    said = capsys.readouterr().err
    assert "SIGTERM: finishing this step, then saving" in said
    assert f"the study goes on with: python experiments/rlvr_compare.py --resume {path}" in said
    assert compare(resume=True)[0] == status.DONE


def test_a_lost_worker_is_replaced_twice(compare, capsys):
    code, path = compare({"arm/chain_sum/grpo": ["lost", "lost"]}, arms=("grpo",), grid=())
    assert code == status.DONE and order(path).count("arm/chain_sum/grpo") == 3
    assert capsys.readouterr().err.count("chain_sum grpo: its worker is lost; started again") == 2


@pytest.mark.parametrize("told", ["told to end", "lost"])
def test_a_worker_that_was_ended_from_outside_is_left_for_later(compare, told):
    with pytest.raises(UserError, match=r"left for later: chain_sum psn tuning; go on with: python .*--resume"):
        compare({"tune/chain_sum/psn": told})
    code, path = compare(resume=True)
    assert code == status.DONE and order(path).count("arm/chain_sum/grpo") == 1


def test_shares_of_cores_do_not_meet(monkeypatch):
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0, 1, 2, 5, 7}, raising=False)
    assert [share.cores for share in Local(workers=1).shares()] == [()], "all of them"
    assert [share.cores for share in Local(workers=2).shares()] == [(0, 1), (2, 5, 7)]
    assert [share.cores for share in Local(workers=2, cores=2).shares()] == [(0, 1), (2, 5)]
    assert [share.cores for share in Local().shares()] == [(0,), (1,), (2,), (5,), (7,)]
    assert len(Local(cores=2).shares()) == 2 and len(Local(workers=6).shares()) == 6
    with pytest.raises(UserError, match=r"local.cores = 6: at most 5"):
        Local(cores=6).shares()


def test_each_worker_has_a_gpu_of_its_own(monkeypatch):
    monkeypatch.setenv("JAX_PLATFORMS", "cuda,cpu")
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "3,MIG-7")
    monkeypatch.setattr(local.importlib.util, "find_spec", lambda name: object())
    assert [share.gpu for share in Local().shares()] == ["3", "MIG-7"]
    assert [share.gpu for share in Local(workers=1).shares()] == [None], "a single program may use all"
    with pytest.raises(UserError, match=r"local.workers = 3: at most 2, one for each GPU"):
        Local(workers=3).shares()
    monkeypatch.setenv("JAX_PLATFORMS", "cpu")
    assert {share.gpu for share in Local(workers=3).shares()} == {None}


def test_the_worker_refuses_other_words(monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["worker"])
    assert startup.main_guard(worker.main)() == status.USER_ERROR
    assert "a study folder and a unit" in capsys.readouterr().err


def test_what_a_user_caused_is_said_once_and_a_fault_whole(monkeypatch, capsys):
    mistake = UserError("x = 1: two")
    monkeypatch.setenv(local.SHOWN, "1")
    assert worker._told(mistake) == Result(status.USER_ERROR, "x = 1: two") and not capsys.readouterr().err
    assert worker._told(ValueError("three")) == Result(1, "ValueError: three")
    assert "ValueError: three" in capsys.readouterr().err
    monkeypatch.delenv(local.SHOWN)
    assert worker._told(mistake).status == status.USER_ERROR, "of several workers each has a log"
    assert capsys.readouterr().err == "error: x = 1: two\n"
