import csv
import dataclasses
import io
import json

import numpy as np
import pytest

from jaxpsn.core.errors import UserError
from jaxpsn.stats import comparison, evaluations


def _problem(index=0, correct=2, n=8, **more):
    fields = {"id": f"p{index}", "prompt": f"{index} + 1 =", "n": n, "correct": correct, "distinct": min(1, correct)}
    return fields | {"solutions": 4} | more


SETTINGS = {"step": 100, "n": 8, "temperature": 1.0, "noisy": False, "task": "chain_sum"}


def _write(folder, label, problems, **more):
    return evaluations.record(folder, label, **(SETTINGS | more), problems=problems)


def test_what_is_recorded_reads_back(tmp_path):
    problems = [_problem(0), _problem(1, 0, distinct=0), _problem(2, 8, distinct=3, solutions=None)]
    file = _write(tmp_path, "trained", problems)
    assert file == tmp_path / "evaluations" / "trained.json" and [p.name for p in file.parent.iterdir()] == [file.name]
    assert json.loads(file.read_text()) == {"label": "trained", **SETTINGS, "problems": problems}
    found = evaluations.read(file)
    assert (found.label, found.step, found.n, found.noisy) == ("trained", 100, 8, False)
    assert found.correct.tolist() == [2, 0, 8] and found.ids == ("p0", "p1", "p2")
    assert found.mean_distinct().value == pytest.approx([4 / 3])
    assert found.share_of_solutions().value == pytest.approx([1 / 8]), "over the two whose solutions are known"
    assert found.curve.ks == (1, 2, 4, 8) and found.curve.band.value[0] == pytest.approx(10 / 24)


def test_numbers_of_numpy_and_any_text_are_recorded(tmp_path):
    prompt = "a\x00b \ud800 </script>"
    problem = _problem(correct=np.int64(3), n=np.int32(8), prompt=prompt)
    found = evaluations.read(_write(tmp_path, "base", [problem], temperature=0.5))
    assert found.prompts == (prompt,) and found.temperature == 0.5 and found.correct.tolist() == [3]


def test_unknown_solutions_are_said_to_be_unknown(tmp_path):
    problems = [_problem(0, distinct=None, solutions=None), _problem(1)]
    found = evaluations.read(_write(tmp_path, "base", problems, step=None))
    assert found.mean_distinct() is None and found.share_of_solutions().value == pytest.approx([0.25])


@pytest.mark.parametrize("label", ["", "../base", "a b", ".hidden", "x" * 101, "a/b"])
def test_a_label_that_is_no_file_name_is_refused(tmp_path, label):
    with pytest.raises(UserError, match="label"):
        _write(tmp_path, label, [_problem()])


def test_a_file_whose_name_is_no_label_is_told(tmp_path):
    file = _write(tmp_path, "base", [_problem()])
    file.rename(file.with_name("$x$.json"))
    found, problems = evaluations.read_all(tmp_path)
    assert not found and "$x$.json: label = '$x$'" in problems[0]


def test_a_recording_that_fails_leaves_the_old_file(tmp_path):
    file = _write(tmp_path, "base", [_problem()])
    before = file.read_text()
    with pytest.raises(UserError, match="correct"):
        _write(tmp_path, "base", [_problem(correct=9)])
    assert file.read_text() == before and list(file.parent.iterdir()) == [file]


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"problems": []}, "not empty"),
        ({"problems": {"a": 1}}, "problems = 'dict'"),
        ({"problems": [7]}, r"problems\[0\] = 'int'"),
        ({"problems": [_problem(), _problem()]}, r"problems\[1\].id"),
        ({"problems": [_problem(correct=9)]}, r"problems\[0\].correct = 9"),
        ({"problems": [_problem(correct=2.0)]}, "correct = 2.0"),
        ({"problems": [_problem(n=0)]}, r"\.n = 0"),
        ({"problems": [_problem(n=10**30)]}, r"\.n = 1000"),
        ({"problems": [_problem(prompt=None)]}, "prompt = 'NoneType'"),
        ({"problems": [_problem(distinct=3)]}, "distinct = 3"),
        ({"problems": [_problem(distinct=0)]}, "distinct = 0"),
        ({"problems": [_problem(distinct=2, solutions=1)]}, "distinct = 2"),
        ({"problems": [_problem(solutions=-1)]}, "solutions = -1"),
        ({"problems": [{"id": "p"}]}, "without prompt, n"),
        ({"n": "8" * 1_000_000}, "n = '888"),
        ({"step": -1}, "step = -1"),
        ({"temperature": float("nan")}, "NaN is no number of JSON"),
        ({"temperature": 10**400}, "temperature"),
        ({"noisy": 1}, "noisy = 1"),
        ({"task": None}, "task"),
    ],
)
def test_a_malformed_evaluation_is_one_line_that_names_file_and_field(tmp_path, change, says):
    content = {"label": "base", **SETTINGS, "problems": [_problem()]} | change
    (tmp_path / "base.json").write_text(json.dumps(content))
    with pytest.raises(UserError, match=says) as caught:
        evaluations.read(tmp_path / "base.json")
    assert "base.json" in str(caught.value) and "\n" not in str(caught.value) and len(str(caught.value)) < 600


@pytest.mark.parametrize("content", [b"", b"{", b"[1]", b"\xff\xfe", b"[" * 100_000, b"1" * 5000, b'{"weights": 1}'])
def test_a_foreign_file_is_one_line(tmp_path, content):
    (tmp_path / "evaluations").mkdir()
    (tmp_path / "evaluations" / "foreign.json").write_bytes(content)
    _write(tmp_path, "base", [_problem()])
    found, problems = evaluations.read_all(tmp_path)
    assert [one.label for one in found] == ["base"] and len(problems) == 1
    assert "foreign.json" in problems[0] and "\n" not in problems[0] and len(problems[0]) < 600


def test_evaluations_come_in_the_order_of_training(tmp_path):
    steps = {"trained": 300, "base": 0, "step-000200": 200, "step-000100": 100, "base-noisy": 0, "other": None}
    for label, step in steps.items():
        _write(tmp_path, label, [_problem()], step=step, noisy="noisy" in label)
    labels = [one.label for one in evaluations.read_all(tmp_path)[0]]
    assert labels == ["base", "step-000100", "step-000200", "other", "trained", "base-noisy"]
    assert evaluations.read_all(tmp_path / "none") == ([], [])


def _pair(tmp_path, ours, theirs, **more):
    sides = []
    for label, counts in (("trained", ours), ("base", theirs)):
        problems = [_problem(index, count, distinct=min(count, 2)) for index, count in counts.items()]
        sides.append(evaluations.read(_write(tmp_path, label, problems, **(more if label == "trained" else {}))))
    return sides


def test_two_are_compared_problem_by_problem_whatever_their_order(tmp_path):
    ours, theirs = _pair(tmp_path, {3: 8, 2: 0, 1: 3, 0: 5}, {0: 1, 1: 0, 2: 2, 3: 8})
    found = comparison.compare(ours, theirs)
    assert found.gained == ("p1",) and found.lost == ("p2",) and found.ours.ids == theirs.ids
    assert found.difference.band.value[0] == pytest.approx((4 + 3 - 2 + 0) / 32)
    assert found.distinct.value == pytest.approx([(1 + 2 - 2 + 0) / 4])
    assert [row["k"] for row in found.rows()] == [1, 2, 4, 8]


def test_the_comparison_as_table_csv_and_json(tmp_path):
    ours, theirs = _pair(tmp_path, dict.fromkeys(range(6), 4), dict(zip(range(6), (0, 1, 2, 3, 4, 5), strict=True)))
    found = comparison.compare(ours, theirs)
    table, first = found.table(), found.rows()[0]
    lines = {line.split("  ")[0]: line for line in table.splitlines()}
    assert lines["pass@1"].split("  ")[-1].strip() == "+0.188 [{:+.3f}, {:+.3f}]".format(
        first["difference_low"], first["difference_high"]
    )
    assert "0.500 [0.500, 0.500]" in lines["pass@1"] and "+0.50 [" in lines["distinct solutions"]
    assert "Solved by trained alone: 1. By base alone: 0." in table and "k = 16, 32" in table and table.isascii()
    columns = [line.index("[") for line in table.splitlines() if line.startswith("pass@")]
    assert len(set(columns)) == 1, "columns stand under each other"
    rows = list(csv.DictReader(io.StringIO(found.csv())))
    assert [float(row["difference"]) for row in rows] == [row["difference"] for row in found.rows()]
    held = json.loads(found.json())
    assert held["pass_at_k"] == found.rows() and held["ours"]["label"] == "trained" and held["gained"] == ["p0"]
    assert held["theirs"]["distinct"][0] == pytest.approx(9 / 6)


def test_one_problem_has_no_interval_anywhere(tmp_path):
    found = comparison.compare(*_pair(tmp_path, {0: 4}, {0: 1}))
    assert "(no interval)" in found.table() and found.rows()[0]["ours_low"] is None
    assert next(csv.DictReader(io.StringIO(found.csv())))["ours_low"] == "" and json.loads(found.json())


def test_unlike_problems_are_refused_with_the_counts(tmp_path):
    ours, theirs = _pair(tmp_path, dict.fromkeys(range(9), 1), {0: 1, 7: 2, 20: 1})
    with pytest.raises(UserError) as caught:
        comparison.compare(ours, theirs)
    assert str(caught.value) == (
        "trained has 9 problems, base 3, 2 of them shared; only in trained: 'p1', 'p2', 'p3' and 4 more; "
        "only in base: 'p20'"
    )


def test_an_id_with_another_prompt_is_refused(tmp_path):
    ours, theirs = _pair(tmp_path, {0: 1, 1: 2}, {0: 1, 1: 2})
    other = dataclasses.replace(ours, prompts=("0 + 1 =", "1 + 2 ="))
    with pytest.raises(UserError, match="1 problems have another prompt, such as 'p1'"):
        comparison.compare(other, theirs)


def test_what_differs_in_the_sampling_is_said(tmp_path):
    ours, theirs = _pair(tmp_path, {0: 1, 1: 2}, {0: 1, 1: 2}, temperature=0.6, noisy=True)
    notes = comparison.compare(ours, theirs).notes
    assert any("trained and base at 0.6 and 1" in note for note in notes)
    assert any("Only trained was judged with perturbed weights" in note for note in notes)
    more = dataclasses.replace(ours, samples=ours.samples * 2, n=16)
    found = comparison.compare(more, theirs)
    assert any("distinct solutions are not compared" in note for note in found.notes)
    assert found.distinct is None and "distinct solutions  " not in found.table()
