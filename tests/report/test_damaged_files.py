"""Whatever becomes of a JSON file, its readers take it or say in one short line which file and what is wrong."""

import importlib.util
import json
import sys
from pathlib import Path

import numpy as np
import pytest

from jaxpsn.core import shapes
from jaxpsn.core.errors import LONGEST, UserError
from jaxpsn.report import page, runs, viewer
from jaxpsn.report.control.study import folder as control_folder
from jaxpsn.report.reasoning import samples
from jaxpsn.report.reasoning.study import folder as reasoning_folder
from jaxpsn.report.study import folder as study_folder
from jaxpsn.stats import evaluations

_SPEC = importlib.util.spec_from_file_location("damage", Path(__file__).parent / "damage.py")
damage = importlib.util.module_from_spec(_SPEC)
_SPEC.loader.exec_module(damage)


@pytest.fixture(autouse=True)
def digits():
    """A number of 401 digits can be written here, to be read there."""
    old = sys.get_int_max_str_digits()
    yield
    sys.set_int_max_str_digits(old)


def survives(path, read, every=1, names=True):
    """Damage the file in every way; returns how many were refused and how many taken."""
    before = path.read_text()
    refused = taken = 0
    for what, content in damage.damages(before, every):
        path.write_bytes(content)
        try:
            read()
            taken += 1
        except UserError as error:
            refused += 1
            text = str(error)
            assert len(text) <= LONGEST and "\n" not in text, what
            assert not names or path.name in text or path.parent.name in text, (what, text)
        except Exception as error:
            raise AssertionError(f"{path.name}: {what}: {type(error).__name__}: {error}") from error
    path.write_text(before)
    read()
    assert refused > 10
    return refused, taken


def shown(folder, metrics=True):
    """The page of a run, with all that config and events tell."""
    run = runs.read(folder, metrics=metrics)
    return page.write(run, page.Content("t", "l", (), ()))


def test_the_config_of_a_run(write_run, tmp_path):
    folder = write_run(tmp_path / "run", 2)
    survives(folder / "config.json", lambda: shown(folder))


@pytest.mark.parametrize("name", ["events.jsonl", "metrics.jsonl", "samples.jsonl"])
def test_a_line_of_a_log(write_reasoning, tmp_path, name):
    """Logs are read past a line that is none: nothing is refused."""
    folder = write_reasoning(tmp_path / "run")
    first = {
        "events.jsonl": {"time": "2026-01-01", "step": 1, "event": "stop", "detail": "x"},
        "metrics.jsonl": {"step": 1, "seed": 0, "loss": 0.5},
        "samples.jsonl": {"step": 1, "problem": "p", "prompt": "q", "text": "t", "reward": 1.0, "sigma": 0.1},
    }[name]
    for what, content in damage.damages(json.dumps(first)):
        (folder / name).write_bytes(content + b"\n" + json.dumps(first).encode() + b"\n")
        try:
            shown(folder)
            found, _ = samples.read(folder / "samples.jsonl")
            [samples.blocks(step) for step in found]
        except UserError as error:  # bytes that are no text
            assert "cannot be read" in str(error), what


def test_an_evaluation(tmp_path):
    problems = [{"id": "a", "prompt": "p", "n": 4, "correct": 2, "distinct": 1, "solutions": 3}] * 1
    path = evaluations.record(
        tmp_path, "base", step=3, n=4, temperature=1.0, noisy=False, task="t", problems=problems
    )  # fmt: skip
    survives(path, lambda: evaluations.read(path))


def test_a_rollout(cartpole_rollout, tmp_path):
    path = tmp_path / "rollout.json"
    path.write_text(json.dumps(cartpole_rollout | {"frames": cartpole_rollout["frames"][:3], "rewards": [0.5, 0.25],
                                                   "terminated_at": 2}))  # fmt: skip
    survives(path, lambda: viewer.render_html(viewer.load(path)), every=2, names=False)


def test_a_study_of_control(studies, tmp_path):
    folder = studies.simple(tmp_path / "study", {"a": [1.0, 2.0], "b": [2.0, 3.0]})
    choice = {"field": "exploration.target", "values": [0.1, 0.2], "seeds": [[1], [2]], "final": [[1.0], [None]],
              "first_reward": [[1.0], [None]], "coverage": [[1.0], [2.0]], "chosen": 0.1, "by": "return"}  # fmt: skip
    studies.write_choice(folder / "tuning" / "a", **choice)

    def read():
        found = control_folder.read(folder, study_folder.content(folder))
        return (
            [(arm.told.detail, arm.told.seconds, arm.told.versions, arm.tuning) for arm in found.arms],
            found.name,
            found.task,
        )

    survives(folder / "study.json", read, every=2, names=False)
    for name, shape in (("arms/a/finished.json", shapes.FINISHED), ("tuning/a/choice.json", shapes.CONTROL_CHOICE)):
        survives(folder / name, lambda name=name, shape=shape: shapes.read(folder / name, shape))
        for _, content in damage.damages((folder / name).read_text(), every=5):
            before = (folder / name).read_bytes()
            (folder / name).write_bytes(content)
            read()  # a report is made in spite of it
            (folder / name).write_bytes(before)
    (folder / "arms" / "a" / "failed.json").write_text('{"reason": "nan"}')
    survives(folder / "arms/a/failed.json", lambda: shapes.read(folder / "arms/a/failed.json", shapes.FAILED))


def test_a_study_of_reasoning(reasoning_studies, tmp_path):
    arms = {"grpo": reasoning_studies.ARMS["grpo"]}
    folder = reasoning_studies.simulate(tmp_path / "study", arms, ["countdown"], seeds=1, problems=4, n=4, tuned=False)
    reasoning_studies.write_choice(folder, "countdown", "psn", "sigma.init", seeds=[1, 2], scores=[[0.1, None]] * 2,
                                   values=[0.1, 0.2])  # fmt: skip

    def read():
        found = reasoning_folder.read(folder, study_folder.content(folder))
        return found.name, found.seeds, [one.scale for cell in found.cells.values() for one in cell.finished]

    survives(folder / "study.json", read, every=2, names=False)
    (path,) = (folder / "tasks/countdown/tuning").glob("*/choice.json")
    survives(path, lambda: shapes.read(path, shapes.REASONING_CHOICE))


def test_what_a_shape_says():
    path = Path("runs/a/finished.json")
    for value, said in (
        ({"step": "9"}, "step = '9': a whole number"), ({"step": True}, "step = True: a whole number"),
        ({"versions": {"jax": 1}}, "versions.jax = 1: a text"), ([], "content = []: an object"),
        ({"scale": {"field": 3}}, "scale.field = 3: a text"), ({"scale": 3}, "scale = 3: an object or null"),
        ({"seconds": float("inf")}, "seconds = inf: a finite number"),
        ({"scale": {"value": 1.0}}, "scale.field = None: a text; it is missing"),
    ):  # fmt: skip
        with pytest.raises(UserError) as caught:
            shapes.check(path, value, shapes.FINISHED)
        assert str(caught.value) == f"{path}: {said}"
    assert shapes.check(path, {"step": 3, "more": np.nan}, shapes.FINISHED)["step"] == 3
