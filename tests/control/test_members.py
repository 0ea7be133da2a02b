"""Perturbed members beside the clean policy: whose they are, what they share, and what they do not."""

import functools
import json
from dataclasses import replace

import jax
import numpy as np
import pytest

from jaxpsn.control import members, program, record
from jaxpsn.control.exploration import EXPLORATION
from jaxpsn.control.presets import PRESETS
from jaxpsn.core.errors import UserError
from jaxpsn.report import viewer

STEPS = 20


@functools.cache
def made(explore="parameter(sigma=0.3)", env="sparse_cartpole_swingup_light", **more):
    config = PRESETS["smoke"]
    env = replace(config.env, name=env, num_envs=4, **more)
    built = program.make(replace(config, env=env, explore=EXPLORATION.make(explore, "explore")), 100)
    return built, built.init(jax.random.key(0), built.hyper)


def played(built, state, count=2, key=0, steps=STEPS, **cast):
    crew = members.cast(built, state.explore, count, **cast)
    return record.record(built, crew, state.learner.actor, state.statistics, jax.random.key(key), steps)


def alike(one, other):
    return all(np.array_equal(getattr(one, name), getattr(other, name)) for name in ("obs", "actions", "poses"))


def test_the_clean_one_is_the_clean_policy_bit_for_bit():
    built, state = made()
    alone, beside = played(built, state, 0), played(built, state, 3)
    assert [episode.label for episode in alone.episodes] == ["clean"] and alone.crew is None
    policy = jax.jit(lambda obs: built.agent.policy(state.learner.actor, built.normalise(state.statistics, obs)))
    for clean in (alone.episodes[0], beside.episodes[0]):
        acted = np.stack([policy(obs) for obs in clean.obs[: len(clean.actions)]])
        np.testing.assert_array_equal(acted, clean.actions)
    # The physics of one and of many side by side round differently.
    np.testing.assert_allclose(alone.episodes[0].obs, beside.episodes[0].obs, atol=1e-4)


def test_members_start_alike_differ_and_equal_keys_give_equal_members():
    built, state = made()
    first, again, other = (played(built, state, 3, key) for key in (0, 0, 1))
    assert [episode.label for episode in first.episodes] == ["clean", "member 1", "member 2", "member 3"]
    assert all(np.array_equal(episode.obs[0], first.episodes[0].obs[0]) for episode in first.episodes)
    begun = [episode.actions[0] for episode in first.episodes]
    assert len(np.unique(begun, axis=0)) == 4
    assert all(alike(*pair) for pair in zip(first.episodes, again.episodes, strict=True))
    assert not any(alike(*pair) for pair in zip(first.episodes, other.episodes, strict=True))


def test_a_member_does_not_depend_on_how_many_there_are():
    built, state = made()
    few, more = played(built, state, 1), played(built, state, 3)
    np.testing.assert_allclose(few.episodes[1].actions, more.episodes[1].actions, atol=1e-4)


def test_scales_share_their_draws_and_zero_is_clean():
    built, state = made()
    found = played(built, state, 2, scales=(0.0, 0.01, 0.02))
    clean, *others = found.episodes
    assert [episode.level for episode in others] == [0, 0, 1, 1, 2, 2] and found.crew.field == "sigma"
    assert found.crew.scales == pytest.approx((0, 0.01, 0.02))
    move = [episode.actions[0] - clean.actions[0] for episode in others]
    assert np.abs(move[:2]).max() < 1e-6
    np.testing.assert_allclose(move[4], 2 * move[2], rtol=0.1)  # to first order
    assert found.rollout()["levels"] == ["sigma 0", "sigma 0.01", "sigma 0.02"]


def test_members_have_the_present_scale_of_the_run_and_its_hold():
    built, state = made("parameter(hold=steps(5))")
    louder = state.explore.behaviour.scale.replace(sigma=np.float32(0.4))
    state = state.replace(explore=state.explore.replace(behaviour=state.explore.behaviour.replace(scale=louder)))
    found = played(built, state)
    assert found.crew.scales == pytest.approx((0.4,)) and "sigma 0.4" in found.rollout()["title"]
    longer = played(*made(), explore="parameter(sigma=0.4)")
    np.testing.assert_array_equal(longer.episodes[1].actions[:5], found.episodes[1].actions[:5])
    assert not np.array_equal(longer.episodes[1].actions[5:], found.episodes[1].actions[5:])


def test_scales_of_members_are_those_that_the_run_has_now():
    built, state = made("parameter(member_sigma=true, ladder=9)")
    own = state.explore.behaviour.scale.sigma
    crew = members.cast(built, state.explore, 2)
    start = crew.explorer.init(jax.random.key(0), state.learner.actor, {n: x[0] for n, x in crew.hyper.items()})
    np.testing.assert_array_equal(start.behaviour.scale.sigma, own[np.array([0, 3])])


RULES = ("gaussian + ou + pink + zeta + mixed", "lattice", "noisynet",
         "parameter(groups=2, structure=flipout(antithetic=true), scale=linear) + gaussian")  # fmt: skip


@pytest.mark.parametrize("explore", RULES)
def test_every_rule_is_seen(explore):
    built, state = made(explore, action_repeat=2)
    found = played(built, state, 3, steps=6)
    clean, *others = found.episodes
    kind = "member" if found.crew.perturbed else "noise"
    assert [episode.label for episode in others] == [f"{kind} {index}" for index in (1, 2, 3)]
    assert all(not np.array_equal(episode.actions[:3], clean.actions[:3]) for episode in others)
    # A decision lasts two steps.
    for episode in found.episodes:
        np.testing.assert_array_equal(episode.actions[:4:2], episode.actions[1:4:2])


def test_a_rule_of_another_run_and_a_rule_without_noise():
    built, state = made()
    found = played(built, state, 2, explore="gaussian(std=0.5)")
    assert [episode.label for episode in found.episodes] == ["clean", "noise 1", "noise 2"]
    assert members.cast(built, state.explore, 2, "none") is None
    silent, still = made("none")
    assert members.cast(silent, still.explore, 4) is None


@pytest.mark.parametrize(
    ("asked", "says"),
    [
        ({"members": 65}, "members = 65"),
        ({"scales": (-0.1,)}, "sigmas = -0.1"),
        ({"scales": (0.1,) * 40}, "members times sigmas = 80"),
        ({"members": 0, "scales": (0.1,)}, "nothing is perturbed"),
        ({"explore": "noisynet", "scales": (0.1,)}, "noisynet has none"),
        ({"explore": "gausian"}, "nearest: gaussian"),
    ],
)
def test_what_cannot_be_is_refused_in_one_line(asked, says):
    built, state = made()
    with pytest.raises(UserError, match=says) as caught:
        members.cast(built, state.explore, **{"members": 2} | asked)
    assert "\n" not in str(caught.value)


def test_the_page_holds_them_all_and_stays_small():
    built, state = made()
    found = played(built, state, 3).rollout()
    packed = viewer.pack(json.loads(json.dumps(found)))
    assert [episode["label"] for episode in packed["episodes"]] == ["clean", "member 1", "member 2", "member 3"]
    assert len(set(episode["color"] for episode in packed["episodes"])) == 4
    assert len(viewer.render_html(found)) < len(viewer.render_html(played(built, state, 0).rollout())) + 100_000
