"""Environments of one's own: right ones run, all others are refused in one line that says what to do."""

import jax
import jax.numpy as jnp
import pytest

from jaxpsn import envs
from jaxpsn.control import program
from jaxpsn.control.config import ControlConfig, EnvConfig
from jaxpsn.core.errors import UserError
from jaxpsn.envs import brax_door
from jaxpsn.envs.brax_api import Env, State

with brax_door.quiet():  # warnings of Brax about itself
    from brax.envs.base import Wrapper
    from brax.envs.wrappers import training

LIMIT = 6


class Drift(Env):
    """A point that the action pushes; it never terminates."""

    observation_size, action_size, backend = 2, 1, "none"

    def reset(self, rng):
        place = jax.random.uniform(rng, (2,))
        return State(None, place, jnp.float32(0), jnp.float32(0), {"far": jnp.float32(0)}, {"seen": jnp.float32(0)})

    def step(self, state, action):
        place = state.obs + 0.1 * action[0]
        return state.replace(obs=place, reward=-jnp.sum(place**2), metrics={"far": jnp.max(place)})


CONFIG = ControlConfig(
    env=EnvConfig(num_envs=3, episode_length=LIMIT),
    agent="td3(actor_hidden=8, critic_hidden=8, batch_size=8, replay_capacity=300, warmup=6)",
    eval_envs=2,
)


def test_a_time_limit_is_stored_as_one():
    made = program.make(CONFIG, env=Drift())
    state = jax.jit(made.init)(jax.random.key(0), made.hyper)
    step = jax.jit(made.step)
    for _ in range(2 * LIMIT + 1):
        state, _ = step(state)
    assert int(state.replay.data.truncated.sum()) == 2 * 3
    assert int(state.replay.data.terminated.sum()) == 0


def test_a_wrapper_that_only_watches_is_taken():
    class Doubled(Wrapper):
        def step(self, state, action):
            return self.env.step(state, 2 * action)

    assert program.make(CONFIG, env=Doubled(Drift())).episodes.observation_size == 2


class Renamed(training.EpisodeWrapper):
    pass


class Marked(Drift):
    def reset(self, rng):
        state = super().reset(rng)
        return state.replace(info=state.info | {"truncation": jnp.float32(0)})


@pytest.mark.parametrize(
    ("wrapped", "said"),
    [
        (lambda: training.EpisodeWrapper(Drift(), LIMIT, 1), "not within EpisodeWrapper"),
        (lambda: training.AutoResetWrapper(training.EpisodeWrapper(Drift(), LIMIT, 1)), "not within AutoResetWrapper"),
        (lambda: training.VmapWrapper(Drift()), "not within VmapWrapper"),
        (lambda: training.wrap(Drift(), LIMIT, 1), "not within AutoResetWrapper"),
        (lambda: Renamed(Drift(), LIMIT, 1), "not within EpisodeWrapper"),
        (Marked, "its info has truncation"),
    ],
)
def test_what_ends_episodes_by_time_is_refused_by_name(wrapped, said):
    text = refusal(wrapped())
    assert said in text and "env.unwrapped" in text


class NoKey(Drift):
    def reset(self):
        return super().reset(jax.random.PRNGKey(0))


class LateMetric(Drift):
    def step(self, state, action):
        state = super().step(state, action)
        return state.replace(metrics=state.metrics | {"late": jnp.float32(1)})


class LostInfo(Drift):
    def step(self, state, action):
        return super().step(state, action).replace(info={})


class Grows(Drift):
    def step(self, state, action):
        return super().step(state, action).replace(metrics={"far": jnp.zeros(3)})


class Pixels(Drift):
    def reset(self, rng):
        return super().reset(rng).replace(obs=jnp.zeros((4, 4)))


class Named(Drift):
    def reset(self, rng):
        return super().reset(rng).replace(obs={"state": jnp.zeros(2)})


class ManyRewards(Drift):
    def step(self, state, action):
        return super().step(state, action).replace(reward=jnp.zeros(2))


class Raises(Drift):
    def step(self, state, action):
        raise KeyError("torque")


class NoSize(Drift):
    action_size = None


class Tuple(Drift):
    def reset(self, rng):
        return jnp.zeros(2), {}


def refusal(env, config=CONFIG):
    with pytest.raises(UserError) as caught:
        program.make(config, env=env)
    text = str(caught.value)
    assert "\n" not in text and len(text) <= 300
    return text


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (Drift, "not its class: Drift(...)"),
        (NoKey(), "its reset fails on a key: TypeError"),
        (LateMetric(), "that of step has metrics.late, that of reset has not"),
        (LostInfo(), "that of reset has info.seen, that of step has not"),
        (Grows(), "metrics.far is () after reset, (3,) after step"),
        (Pixels(), "an observation that is one vector; that of reset is (4, 4)"),
        (Named(), "an observation that is one vector; that of reset is dict"),
        (ManyRewards(), "a single number as reward; that of step is (2,)"),
        (Raises(), "its step fails on a state and an action: KeyError: 'torque'"),
        (NoSize(), "a whole number as action_size"),
        (Tuple(), "this tuple has no obs, reward, done, metrics, info"),
        (3, "with a method reset"),
    ],
)
def test_what_cannot_work_is_refused_in_one_line(given, said):
    assert said in refusal(given)


def test_the_time_limit_must_be_stated():
    config = ControlConfig(env=EnvConfig(num_envs=3), agent="td3(replay_capacity=300)")
    assert "env.episode_length = None: a time limit in steps" in refusal(Drift(), config)


def test_our_own_tasks_may_be_handed_over():
    for name in ("probe/action", "cartpole_swingup"):
        envs.check_given(envs.make(name), 10)
