"""Runs in which nothing can be learnt: when that is told, how often, and that a resumed run does not forget."""

import json

import numpy as np
import pytest

from jaxpsn.control.off_policy import Program
from jaxpsn.rlvr import measures
from jaxpsn.rlvr.config import RlvrConfig, RolloutConfig
from jaxpsn.run.quiet import EVENT, WINDOW, Watch

ZERO = {"nothing": lambda row: row["x"] == 0}


def told(watch, values, step=0):
    """What is said at each row, numbered from ``step + 1`` on; ``values`` of one seed, or tuples of several."""
    said = {}
    for value in values:
        step += 1
        rows = [{"x": one} for one in np.atleast_1d(value)]
        text = watch.see(step, rows)
        if text:
            said[step] = text
    return said


def test_it_is_told_once_after_a_window_and_again_after_a_break():
    watch = Watch(ZERO)
    said = told(watch, [1, *[0] * (2 * WINDOW), 1, *[0] * WINDOW])
    assert said == {
        WINDOW + 1: f"nothing: from step 2 to step {WINDOW + 1}",
        3 * WINDOW + 2: f"nothing: from step {2 * WINDOW + 3} to step {3 * WINDOW + 2}",
    }
    assert watch.end() == f"nothing: from step {2 * WINDOW + 3} to the end, step {3 * WINDOW + 2}"


def test_a_short_run_is_told_at_its_end_if_it_was_quiet_throughout():
    for values, says in (([0, 0, 0], "nothing: from step 1 to the end, step 3"), ([1, 0, 0], ""), ([], "")):
        watch = Watch(ZERO)
        assert not told(watch, values) and watch.end() == says


def test_one_seed_that_learns_is_enough():
    watch = Watch(ZERO)
    assert not told(watch, [(0, 0, 1)] * (2 * WINDOW)) and not watch.end()
    assert told(Watch(ZERO), [(0, 0, 0)] * WINDOW)


def test_a_resumed_run_counts_on():
    whole, halves = Watch(ZERO), Watch(ZERO)
    values = [1, *[0] * (WINDOW + 5)]
    before = told(halves, values[:9])
    again = Watch(ZERO, json.loads(json.dumps(halves.state())))
    assert told(whole, values) == before | told(again, values[9:], 9)
    assert whole.end() == again.end() and whole.state() == again.state()
    assert Watch(ZERO, None).state() == Watch(ZERO, {}).state(), "checkpoints of older runs hold none"


def test_a_run_says_so_on_screen_and_in_its_events(train, fake_host, capsys):
    """Once after a window, once at the end; and a run that goes on counts from where it was."""
    program = fake_host.FakeHost()
    program.silences = {"always": lambda row: row["sigma"] is not None, "never": lambda row: False}
    fields = {"chunk": 1, "eval_every": 0, "checkpoint_every": 10, "progress": "plain"}
    outcome = train(program, steps=WINDOW - 5, name="quiet", **fields)
    again = fake_host.FakeHost()
    again.silences = program.silences
    train(again, steps=WINDOW + 5, resume=str(outcome.folder), **fields)
    events = [json.loads(line) for line in (outcome.folder / "events.jsonl").read_text().splitlines()]
    told = [(event["step"], event["detail"]) for event in events if event["event"] == EVENT]
    assert told == [
        (WINDOW - 5, f"always: from step 1 to the end, step {WINDOW - 5}"),
        (WINDOW, f"always: from step 1 to step {WINDOW}"),
        (WINDOW + 5, f"always: from step 1 to the end, step {WINDOW + 5}"),
    ]
    said = capsys.readouterr().err
    assert all(f"{EVENT}: {detail}" in said for _, detail in told) and "never" not in said


def test_what_a_control_run_calls_nothing_to_learn_from():
    """Every row of a task that never rewarded; not one whose rewards are negative."""
    (condition,) = Program.silences.fget(None).values()
    assert [condition({"reward": reward}) for reward in (0.0, -0.5, 1e-6, None)] == [True, False, False, False]


ROW = {"score": 0.4, "advantage_min": -1.0, "advantage_max": 1.0, "clipped_length": 0.2, "groups_zero_advantage": 0.1}


@pytest.mark.parametrize(
    ("changes", "refills", "says"),
    [
        ({}, 2, []),
        ({"score": 0.0}, 0, ["no answer was right"]),
        ({"score": 1.0}, 0, ["every answer was right"]),
        ({"clipped_length": 1.0}, 0, ["every answer was cut off at its limit"]),
        ({"advantage_min": 0.0, "advantage_max": 0.0}, 0, ["every advantage was 0"]),
        ({"groups_zero_advantage": 1.0}, 0, []),
        ({"groups_zero_advantage": 1.0}, 3, ["no refill found answers that differ"]),
        ({"score": None, "advantage_min": None, "clipped_length": None}, 3, []),
    ],
)
def test_what_a_reasoning_run_calls_nothing_to_learn_from(changes, refills, says):
    found = measures.silences(RlvrConfig(rollout=RolloutConfig(refills=refills)))
    assert [name for name, condition in found.items() if condition(ROW | changes)] == says


def test_the_conditions_look_at_columns_that_there_are():
    class Spy(dict):
        def get(self, name, default=None):
            asked.add(name)
            return 0.0

    asked = set()
    config = RlvrConfig(rollout=RolloutConfig(refills=1), noise="none")
    for condition in measures.silences(config).values():
        condition(Spy())
    assert len(asked) == 5 and asked <= set(measures.names(config))
