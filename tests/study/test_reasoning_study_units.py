"""Base, tuning and arms of a tiny reasoning study, made in this process."""

import csv
import json
import shutil

import numpy as np
import pytest

from jaxpsn.rlvr import setup
from jaxpsn.run import loop, status
from jaxpsn.stats import evaluations
from jaxpsn.study import record
from jaxpsn.study.kinds import reasoning as job
from jaxpsn.study.kinds.reasoning import ReasoningStudy
from jaxpsn.study.reasoning import making
from jaxpsn.study.reasoning.config import ReasoningStudyConfig
from jaxpsn.study.units import Unit

SMOKE = job.PRESETS["smoke"]
UNTIMED = ("seconds", "tokens_per_second", "sampled_per_second", "steps_per_second")


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    """A study folder with base, tuning and both arms."""
    out = tmp_path_factory.mktemp("studies")
    config = ReasoningStudyConfig(**(vars(SMOKE.study) | {"out": str(out), "name": "s"}))
    arms, tasks = ReasoningStudy.plan(SMOKE.rlvr, config)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(out / "cache"))
        with ReasoningStudy.claim(SMOKE.rlvr, config, arms, tasks) as made:
            made.said = []
            making.base(made, "chain_sum", made.said.append)
            making.tune(made, "chain_sum", made.arm("psn"), made.said.append)
            for arm in made.arms:
                assert making.arm(made, "chain_sum", arm, made.said.append).status == status.DONE
        yield made


def rows(path):
    with (path / "metrics.csv").open() as file:
        found = list(csv.DictReader(file))
    return [{name: cell for name, cell in row.items() if not name.startswith(UNTIMED)} for row in found]


def test_the_folder_is_what_its_format_says(study):
    assert record.finished(study.base("chain_sum"))["backend"] == "cpu"
    base = evaluations.read(evaluations.path(study.base("chain_sum"), "base"))
    for arm in ("grpo", "psn"):
        for seed in (0, 1):
            path = study.run("chain_sum", arm, seed)
            judged = evaluations.read(evaluations.path(path, "trained"))
            assert judged.ids == base.ids and judged.n == 8
            done = record.finished(path)
            assert done["step"] == 2 and done["versions"] and not (path / "checkpoints").exists()
            chosen = study.chosen("chain_sum", "psn")["chosen"]
            assert done["scale"] == (None if arm == "grpo" else {"field": "sigma.value", "value": chosen})
            if arm == "psn":
                assert [float(row["sigma"]) for row in rows(path)[1:]] == pytest.approx([chosen] * 2)
    assert study.said[0].startswith("pass@1 ") and "s a step" in study.said[-1]


def test_the_tuning_sees_no_reported_problem_and_no_reported_seed(study):
    choice = study.chosen("chain_sum", "psn")
    assert choice["values"] == [0.1, 0.2] and choice["seeds"] == [1000] and np.shape(choice["scores"]) == (2, 1)
    reported = set(evaluations.read(evaluations.path(study.base("chain_sum"), "base")).prompts)
    for value in ("0.1", "0.2"):
        path = study.tuning("chain_sum", "psn") / value / "1000"
        judged = evaluations.read(evaluations.path(path, "tuning"))
        assert judged.n == 4 and len(judged.ids) == 2 and not reported & set(judged.prompts)
        expected = np.mean([_pass_at(judged, k) for k in (1, 2, 4)])
        assert making.score(path) == pytest.approx(expected)


def _pass_at(judged, k):
    """Unbiased pass@k by its product, in float64."""
    found = []
    for c in judged.correct:
        wrong = judged.n - c
        product = 1.0
        for i in range(k):
            product *= max(wrong - i, 0) / (judged.n - i)
        found.append(1.0 - product)
    return np.mean(found)


def test_a_seed_of_a_series_is_the_run_of_that_seed_alone(study):
    """The second seed used the program of the first: what it compiled, nothing else."""
    path = study.run("chain_sum", "psn", 1)
    kept = rows(path)
    judged = evaluations.read(evaluations.path(path, "trained")).correct
    shutil.rmtree(path)
    said = []
    making.arm(study, "chain_sum", study.arm("psn"), said.append)
    assert len(said) == 1 and said[0].startswith("seed 1: "), "the seed that was there was kept"
    assert rows(path) == kept != rows(study.run("chain_sum", "psn", 0))
    assert (evaluations.read(evaluations.path(path, "trained")).correct == judged).all()


def test_arms_of_one_seed_see_the_same_problems(study):
    with making._program(study, study.arm("grpo").config(making._on(study, "chain_sum")), 0, 2) as grpo:
        one = setup.reseeded(grpo, 1)
        assert [grpo.problems.train.problem(i) for i in range(9)] != [one.problems.train.problem(i) for i in range(9)]
        with making._program(study, study.arm("psn").config(making._on(study, "chain_sum")), 1, 2) as psn:
            assert [psn.problems.train.problem(i) for i in range(9)] == [
                one.problems.train.problem(i) for i in range(9)
            ]


def test_a_cut_run_goes_on_and_a_failed_one_is_left(study, monkeypatch):
    arm, path = study.arm("grpo"), study.run("chain_sum", "grpo", 1)
    shutil.rmtree(path)
    train, ended = loop.train, []

    def cut(program, run, folder, title):
        outcome = train(program, run, folder, title)
        ended.append(outcome)
        return outcome._replace(status=143, signum=15) if len(ended) == 1 else outcome

    monkeypatch.setattr(loop, "train", cut)
    assert making.arm(study, "chain_sum", arm, lambda text: None).stop == 143
    assert record.finished(path) is None
    assert making.arm(study, "chain_sum", arm, lambda text: None).status == status.DONE
    assert record.finished(path)["step"] == 2
    (path / record.FINISHED).unlink()
    (path / record.FAILED).write_text(json.dumps({"reason": "not finite at step 2"}))
    said = []
    assert making.arm(study, "chain_sum", arm, said.append).status == status.NOT_FINITE
    assert "not finite at step 2" in study.failed(Unit("arm", "chain_sum", "grpo"))
    assert "not finite at step 2" in said[0]
    (path / record.FAILED).unlink()
