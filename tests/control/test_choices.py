"""Discrete actions in the control loop, by an agent of a few lines; who does not fit is refused in one line."""

import json
from dataclasses import dataclass, replace
from typing import ClassVar

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxpsn import envs
from jaxpsn.api import policies
from jaxpsn.api.rollouts import Rollout
from jaxpsn.control import members, program, record
from jaxpsn.control.agents import Learner, OffPolicy
from jaxpsn.control.config import ControlConfig, EnvConfig
from jaxpsn.control.exploration import Behaviour, BehaviourFunctions
from jaxpsn.control.state import LearnerState
from jaxpsn.core.errors import UserError
from jaxpsn.envs import shapes
from jaxpsn.report.control import rollout
from tests.envs.test_spaces import Steps

N, WARMUP, STEPS = 4, 3, 12


class Drawn(Steps):
    """With something to see."""

    def scene_bodies(self):
        return {"bodies": [shapes.body("world")], "camera": shapes.camera(3.0, (0.0, 0.0, 0.0))}

    def scene_poses(self, physics):
        return shapes.world_pose()[None]


@dataclass(frozen=True)
class Bandit(OffPolicy):
    """A linear value of the next reward for each choice; the greedy one acts."""

    spaces: ClassVar[tuple[type, ...]] = (envs.Discrete,)
    learnt: ClassVar[tuple[str, ...]] = ("value_loss",)

    def build(self, observation_size, action_size, learnt=None):
        def values(params, obs):
            return obs @ params["w"] + jnp.broadcast_to(params["b"], (*obs.shape[:-1], action_size))

        def init(key, hyper, explored):
            weights = {"w": jnp.zeros((observation_size, action_size)), "b": jnp.zeros((action_size,))}
            return LearnerState(weights, None, None, None, None, None)

        def update(key, learner, batch, hyper, count):
            def loss(params):
                told = jnp.take_along_axis(values(params, batch.obs), batch.action[:, None], axis=1)[:, 0]
                return jnp.mean(jnp.square(told - batch.reward))

            found, slope = jax.value_and_grad(loss)(learner.actor)
            moved = jax.tree.map(lambda w, g: w - 0.2 * g, learner.actor, slope)
            return learner.replace(actor=moved), {"value_loss": (found, jnp.float32(1))}

        def policy(params, obs):
            return jnp.argmax(values(params, obs), axis=-1).astype(jnp.int32)

        return Learner(init, policy, update)


AGENT = Bandit(batch_size=32, updates=2, replay_capacity=N * 50, warmup=N * WARMUP, normalize_observations=False)
CONFIG = ControlConfig(EnvConfig("steps", num_envs=N, episode_length=4), AGENT, "none", eval_envs=2, diagnose=True)


@dataclass(frozen=True)
class Held(Behaviour):
    """Each environment makes one choice, whatever it sees."""

    spaces: ClassVar[tuple[type, ...]] = (envs.Discrete,)

    def build(self, policy, params, space):
        def init(key, params, hyper):
            return space.actions.uniform(key, space.num_envs)

        return BehaviourFunctions(init, lambda params, state, obs: state, lambda key, state, done: state)


@pytest.fixture(scope="module")
def trained():
    """Program, state after some steps, metrics of each."""
    made = program.make(CONFIG, env=Drawn())
    state, step, history = made.init(jax.random.key(0), made.hyper), jax.jit(made.step), []
    for _ in range(STEPS):
        state, metrics = step(state)
        history.append(metrics)
    return made, state, history


def test_choices_are_drawn_stored_and_learnt_from(trained):
    made, state, history = trained
    stored = state.replay.data.action
    assert stored.shape == (50, N) and stored.dtype == jnp.int32
    drawn = np.asarray(stored[:WARMUP])
    assert ((drawn >= 0) & (drawn < 3)).all() and len(np.unique(drawn)) == 3
    assert not (stored[STEPS:] != 0).any()
    assert float(history[-1]["value_loss"][0]) < float(history[WARMUP]["value_loss"][0])
    # Greedy after the warm-up: up, as far as it goes.
    assert (stored[STEPS - 3 : STEPS] == 2).all()
    assert float(jax.jit(made.evaluate)(jax.random.key(1), state)["eval_return"]) == 3.0


def test_metrics_of_choices(trained):
    _, _, history = trained
    assert "saturation" not in history[0]
    assert [float(one["action_distance"][1]) for one in history] == [0.0] * WARMUP + [1.0] * (STEPS - WARMUP)
    assert all(float(one["action_distance"][0]) == 0.0 for one in history)


def test_the_policy_of_a_run_gives_choices(trained):
    made, state, _ = trained
    policy = policies.of_state(made, state, 0, 0)
    assert policy.space == envs.Discrete(3) and policy.action_size == 3
    found = policy(np.zeros((2, 5, 1), np.float32))
    assert found.shape == (2, 5) and found.dtype == jnp.int32 and policy(np.zeros(1)).shape == ()
    assert policy.explore(np.zeros(1)).shape == (N,)


def test_a_rollout_of_choices_and_its_page(trained):
    made, state, _ = trained
    crew = members.cast(made, state.explore, 3, explore=Held())
    found = record.record(made, crew, state.learner.actor, state.statistics)
    plain = json.loads(json.dumps(found.rollout()))
    assert plain["choices"] == 3 and plain["actions"] == [2, 2] and plain["terminated_at"] == 2
    held = [one["actions"] for one in plain["members"]]
    assert all(len(set(actions)) == 1 and actions[0] in (0, 1, 2) for actions in held)
    chart = rollout.chart(plain)
    assert "one of the 3 choices" in chart.caption and len(chart.panels) == 1
    shares = Rollout(found).distance()
    others = [one.actions != one.clean for one in found.episodes[1:]]
    assert shares == pytest.approx(np.concatenate(others).mean())


def test_who_does_not_fit_is_refused_in_one_line_that_names_who_does():
    with pytest.raises(UserError, match=r"^agent = 'td3': .*, as env.name = steps has discrete actions$"):
        program.make(replace(CONFIG, agent="td3", explore="none"), env=Drawn())
    with pytest.raises(UserError, match=r"^explore = 'pink': none.*, as env.name = steps has discrete actions$"):
        program.make(replace(CONFIG, explore="pink"), env=Drawn())
    boxed = replace(CONFIG, env=EnvConfig("probe/action", num_envs=N))
    with pytest.raises(UserError, match=r"^agent = 'Bandit': .*td3.*, as env.name = probe/action has box actions$"):
        program.make(boxed)
    with pytest.raises(UserError, match=r"^explore = 'Held': .*gaussian.*has box actions$"):
        program.make(replace(boxed, agent="td3(batch_size=8)", explore=Held()))
