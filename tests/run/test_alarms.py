"""What a run says about itself: a scale that does not settle is told once, on the screen and in the events."""

import json
import math

import jax.numpy as jnp
import pytest

from jaxpsn.control.config import ControlConfig
from jaxpsn.noise import scales
from jaxpsn.run import alarms

BOUNDS = (1e-3, 2.0)


def said(sigmas, patience=5, bounds=BOUNDS):
    """What the alarm answers to each row."""
    alarm = scales.Unsettled(bounds, patience)
    return [alarm({"sigma": sigma, "seed": 3}) for sigma in sigmas]


def test_a_ramp_is_told_once_with_its_ends():
    found = said([0.1 * 1.05**step for step in range(12)])
    assert found[:5] == [None] * 5 and found[6:] == [None] * 6
    assert found[5] == (
        "sigma has risen in 5 of the last 5 rows, from 0.1 to 0.128: it has not found its target (seed 3)"
    )
    assert "fallen" in said([0.9**step for step in range(7)])[5]


def test_a_ramp_that_turns_back_now_and_then_is_one():
    turning = [0.1 * 1.05 ** (step - 2 * (step > 7)) for step in range(21)]
    assert any("in 19 of the last 20 rows" in text for text in said(turning, patience=20) if text)
    often = [0.1 * 1.05 ** (step - 2 * (step // 4)) for step in range(60)]
    assert not any(said(often, patience=20)), "one step in four goes back: slow, but it looks"


def test_a_scale_on_its_bound_is_told_with_the_bound():
    for bound, name in zip(BOUNDS, ("low", "high"), strict=True):
        *before, last = said([0.5, *[float(jnp.float32(bound))] * 5])
        assert before == [None] * 5 and f"bound {name} = {bound:g} for 5 rows" in last


@pytest.mark.parametrize(
    "sigmas",
    [
        [0.1 * 1.05 ** min(step, 4) for step in range(40)],
        [0.2, 0.21, 0.22, 0.23, 0.24, 0.23] * 6,
        [0.3] * 40,
        [2.0, 2.0, 2.0, 2.0, 1.9] * 6,
        [None, math.nan] * 20,
    ],
)
def test_a_scale_that_rests_or_turns_is_not_told(sigmas):
    assert not any(said(sigmas))


def test_seeds_are_looked_at_apart():
    alarm = scales.Unsettled(BOUNDS, 4)
    rows = [{"sigma": sigma, "seed": seed} for step in range(8) for seed, sigma in ((0, 0.1), (1, 0.1 * 1.1**step))]
    found = [text for text in map(alarm, rows) if text]
    assert len(found) == 1 and "(seed 1)" in found[0]


def every_rule():
    """All rules of both homes that look at a distance or an indicator, as pairs of start and update on a far target."""
    from jaxpsn.rlvr.exploration import sigma

    far = {"noise_kl_k1": jnp.float32(0.0), "similarity": jnp.ones((3,)), "certainty": jnp.arange(3.0)}
    bounds = (1e-4, 50.0)
    for rule in (scales.adaptive(9.0, 1.1, bounds=bounds), scales.first_order(9.0, bounds=bounds, max_step=1.1)):
        yield rule, jnp.float32(0.01)
    yield scales.bisection(9.0, bounds=bounds), jnp.float32(0.0)
    yield sigma.kl(9.0, 1.1, bounds=bounds), far
    yield sigma.composite(0.1, 1.1, bounds=bounds), far


@pytest.mark.parametrize("place", range(5))
def test_every_rule_that_runs_away_is_told(place):
    rule, signal = list(every_rule())[place]
    alarm, state, found = scales.Unsettled((1e-4, 50.0), 8), rule.init(0.1), []
    for _ in range(90):
        found.append(alarm({"sigma": float(state.sigma)}))
        state = rule.update(state, signal)
    assert sum(text is not None for text in found) == 1


def test_control_watches_the_rules_that_look(monkeypatch):
    from jaxpsn.control.off_policy import Program

    def bounds(controller):
        made = object.__new__(Program)
        object.__setattr__(made, "config", ControlConfig(explore=f"parameter(scale={controller})"))
        return [alarm({"sigma": 3.0}) or alarm for alarm in made.alarms()]

    assert not bounds("constant") and not bounds("linear")
    for controller in ("multiplicative", "first-order", "bisection"):
        (alarm,) = bounds(f"{controller}(low=0.01, high=3)")
        told = [alarm({"sigma": 3.0}) for _ in range(scales.PATIENCE)]
        assert "bound explore.scale.high = 3" in told[-2], "with the one row before"


def test_a_program_without_alarms_has_none():
    assert alarms.of(object())([{"sigma": 1.0}]) == []


def test_an_alarm_that_has_spoken_is_not_asked_again():
    calls = []

    def alarm(row):
        calls.append(row["step"])
        return "too far" if row["step"] == 2 else None

    look = alarms.Alarms([alarm])
    assert [look([{"step": step}]) for step in range(5)] == [[], [], ["too far"], [], []]
    assert calls == [0, 1, 2]


def test_a_run_says_it_on_the_screen_and_in_its_events(train, fake_host, capsys):
    class Watched(fake_host.FakeHost):
        def alarms(self):
            return [lambda row: f"step {row['step']} is odd" if row.get("step", 0) % 8 == 4 else None]

    outcome = train(Watched(), steps=16, chunk=4, eval_every=8, checkpoint_every=8, progress="plain")
    events = [json.loads(line) for line in (outcome.folder / "events.jsonl").read_text().splitlines()]
    told = [(event["step"], event["detail"]) for event in events if event["event"] == "warning"]
    assert told == [(4, "step 4 is odd")]
    assert capsys.readouterr().err.count("warning: step 4 is odd") == 1
