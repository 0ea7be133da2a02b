import subprocess
import sys

import numpy as np
import pytest

from jaxpsn.core import text
from jaxpsn.core.errors import UserError
from jaxpsn.report import runs


def test_a_run_reads_back(write_run, tmp_path):
    run = runs.read(write_run(tmp_path / "run", 3))
    assert run.seeds.tolist() == [0, 1, 2] and not run.notes
    returns, clean = run.series("return"), run.series("eval_return")
    assert returns.values.shape == (3, 60) and returns.steps[-1] == 1_500_000
    assert clean.values.shape == (3, 21) and np.isfinite(clean.values).all()  # empty cells: not evaluated
    assert run.series("no such metric") is None
    assert runs.setting(run.config, "env.name") == "halfcheetah"
    assert runs.setting({"config": run.config}, "exploration.structure") == "flipout"
    assert runs.setting(run.config, "env.missing", 7) == 7


def _csv(folder, content):
    (folder / "metrics.csv").write_text(content)
    return folder


def test_a_cut_last_line_is_left_out_and_told(tmp_path):
    run = runs.read(_csv(tmp_path, "step,seed,return\n10,0,1.5\n20,0,2.5\n30,0,12"))
    assert run.series("return").values.tolist() == [[1.5, 2.5]]
    assert any("cut" in note for note in run.notes)


def test_a_step_written_twice_counts_once(tmp_path):
    run = runs.read(_csv(tmp_path, "step,seed,return\n10,0,1\n20,0,2\n20,0,3\n20,4,9\n"))
    assert np.array_equal(run.series("return").values, [[1, 3], [np.nan, 9]], equal_nan=True)


def test_what_is_not_finite_is_absent(tmp_path):
    run = runs.read(_csv(tmp_path, "step,seed,q,actor_loss\n10,0,nan,\n20,0,inf,\n30,0,4,\n"))
    assert run.series("q").steps.tolist() == [30] and run.series("actor_loss") is None


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (None, "metrics.csv"),
        ("", "step and seed"),
        ("step,seed,return\n", "no metrics yet"),
        ("step,return\n1,2\n", "step and seed"),
        ("step,seed,return\n1,0,2\n1,0\n2,0,3\n", "line 3"),
        ("step,seed,return\n1,0,many\n", "many"),
        ("step,seed,return\n1,,2\n", "no seed"),
    ],
)
def test_unreadable_metrics_are_one_line(tmp_path, content, says):
    if content is not None:
        _csv(tmp_path, content)
    with pytest.raises(UserError, match=says) as caught:
        runs.read(tmp_path)
    assert "\n" not in str(caught.value)


def test_a_missing_folder_and_a_broken_config_are_refused(tmp_path):
    with pytest.raises(UserError, match="existing folder"):
        runs.read(tmp_path / "none")
    (_csv(tmp_path, "step,seed\n1,0\n") / "config.json").write_text("{")
    with pytest.raises(UserError, match=r"config\.json"):
        runs.read(tmp_path)


def test_events_are_read_as_far_as_they_are_whole(tmp_path):
    (_csv(tmp_path, "step,seed\n1,0\n") / "events.jsonl").write_text('{"event": "resume"}\n{"event": "sig')
    run = runs.read(tmp_path)
    assert [event["event"] for event in run.events] == ["resume"] and any("events" in note for note in run.notes)


def test_the_room_needs_no_jax():
    rooms = "build, command, page, runs, viewer"
    code = f"import sys; from jaxpsn.report import {rooms}; sys.exit('jax' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0


def test_numbers_as_people_read_them():
    assert [text.number(x) for x in (0, 1234.5, 0.01234, -51.84, 1e-7, float("nan"))] == [
        "0", "1,234", "0.0123", "-51.8", "1.00e-07", "none",
    ]  # fmt: skip
    assert [text.tick(x) for x in (2000.0, 0.2, 1.5e6, 0)] == ["2,000", "0.2", "1.5 M", "0"]
    assert [text.count(x) for x in (950, 204_800, 1.5e6)] == ["950", "205 k", "1.5 M"]
    assert [text.duration(x) for x in (12.34, 252, 3725)] == ["12.3 s", "4 min 12 s", "1 h 2 min"]
