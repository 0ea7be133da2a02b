import json
from dataclasses import replace

import jax
import jax.numpy as jnp
import pytest

from jaxpsn.control import program, record
from jaxpsn.control.presets import PRESETS
from jaxpsn.report import viewer


def _state(bias, **env):
    """A policy of the corridor that always acts tanh(bias)."""
    config = PRESETS["smoke"]
    config = replace(config, env=replace(config.env, name="probe/held_exploration", num_envs=2, **env))
    made = program.make(config)
    state = made.init(jax.random.key(0), made.hyper)
    head = state.learner.actor["params"]["head"]
    actor = {
        "params": state.learner.actor["params"] | {"head": {"kernel": 0 * head["kernel"], "bias": jnp.full(1, bias)}}
    }
    return made, state.replace(learner=state.learner.replace(actor=actor))


def test_an_episode_that_ends_early():
    rollout = record.rollout(*_state(30.0))
    assert len(rollout["frames"]) == 26 and rollout["terminated_at"] == 25 and rollout["dt"] == 1.0
    assert [frame[1][0] for frame in rollout["frames"]] == pytest.approx([i / 25 for i in range(26)], abs=1e-4)
    assert rollout["rewards"] == [0.0] * 24 + [1.0]
    assert "return 1" in rollout["title"]
    json.dumps(rollout)
    assert rollout["title"] in viewer.render_html(rollout)


def test_a_time_limit_is_no_end_and_steps_can_be_fewer():
    made, state = _state(0.0)
    rollout = record.rollout(made, state)
    assert len(rollout["frames"]) == 51 and rollout["terminated_at"] is None
    assert len(record.rollout(made, state, steps=7)["rewards"]) == 7


def test_at_most_fifty_frames_a_second():
    made, state = _state(30.0, action_repeat=2)
    made.env.dt = 0.004
    rollout = record.rollout(made, state)
    assert rollout["dt"] == pytest.approx(0.02) and rollout["terminated_at"] == 5
    assert [frame[1][0] for frame in rollout["frames"]] == pytest.approx([0, 0.2, 0.4, 0.6, 0.8, 1.0], abs=1e-4)
    assert sum(rollout["rewards"]) == 1


class _Writes:
    """An environment that writes a Python number into the metrics it is given, as Brax's Ant does."""

    def __init__(self, env):
        self._env = env

    def __getattr__(self, name):
        return getattr(self._env, name)

    def reset(self, key):
        state = self._env.reset(key)
        return state.replace(metrics={"alive": jnp.zeros((), jnp.float32)})

    def step(self, state, action):
        state.metrics.update(alive=1.0)
        return self._env.step(state, action)


def test_an_environment_may_write_into_the_metrics_it_is_given():
    made, state = _state(30.0, episode_length=50)
    writes = program.make(made.config, env=_Writes(made.env))
    assert record.rollout(writes, state)["frames"] == record.rollout(made, state)["frames"]
