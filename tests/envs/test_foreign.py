"""Environments of gymnax's interface and of pgx's: small ones of exactly those interfaces, and pgx where it is."""

import importlib.util

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import struct

from jaxpsn import envs
from jaxpsn.core.errors import UserError
from jaxpsn.envs import foreign
from jaxpsn.envs.family import ENVS

LIMIT = 3


@struct.dataclass
class Params:
    max_steps_in_episode: int = LIMIT
    goal: int = 4


@struct.dataclass
class Place:
    place: jax.Array
    time: int


class Choices:
    n = 2


class Interval:
    low, high, shape = -2.0, 4.0, (1,)


class Line:
    """gymnax 0.0.9: ``done`` is both the goal and the time limit, and ``step`` hides the last observation."""

    default_params = Params()
    space = Choices

    def action_space(self, params=None):
        return self.space()

    def observation_space(self, params):
        raise AssertionError("not needed")

    def reset_env(self, key, params):
        state = Place(jax.random.randint(key, (), 0, 2), 0)
        return self.observed(state), state

    def observed(self, state):
        return (jnp.arange(6) == state.place).reshape(2, 3)

    def moved(self, key, state, action, params):
        return Place(state.place + jnp.asarray(action, jnp.int32).reshape(()), state.time + 1)

    def step_env(self, key, state, action, params):
        state = self.moved(key, state, action, params)
        done = (state.place >= params.goal) | (state.time >= params.max_steps_in_episode)
        return self.observed(state), state, state.place.astype(float), done, {"discount": 1.0 - done}

    def reset(self, key, params=None):
        return self.reset_env(key, params or self.default_params)

    def step(self, key, state, action, params=None):
        params = params or self.default_params
        obs, after, reward, done, info = self.step_env(key, state, action, params)
        fresh_obs, fresh = self.reset_env(key, params)
        chosen = jax.tree.map(lambda a, b: jnp.where(done, a, b), (fresh_obs, fresh), (obs, after))
        return *chosen, reward, done, info


class Later(Line):
    """gymnax 1.0: ``step_env`` tells true ends, ``step`` gives six values and the last observation."""

    def step_env(self, key, state, action, params):
        state = self.moved(key, state, action, params)
        return self.observed(state), state, state.place.astype(float), state.place >= params.goal, {}

    def step(self, key, state, action, params=None):
        params = params or self.default_params
        obs, after, reward, terminated, info = self.step_env(key, state, action, params)
        truncated = after.time >= params.max_steps_in_episode
        fresh_obs, fresh = self.reset_env(key, params)
        chosen = jax.tree.map(lambda a, b: jnp.where(terminated | truncated, a, b), (fresh_obs, fresh), (obs, after))
        info = info | {"terminated": terminated, "truncated": truncated, "final_observation": obs}
        return *chosen, reward, terminated, truncated, info


class Outer:
    """Only what gymnax's 1.0 says of ``step`` and ``reset``."""

    def __init__(self):
        own = Later()
        self.default_params, self.action_space, self.observation_space = (
            own.default_params, own.action_space, own.observation_space,
        )  # fmt: skip
        self.reset, self.step = own.reset, own.step


class Real(Later):
    space = Interval

    def moved(self, key, state, action, params):
        assert action.shape == (1,)
        return super().moved(key, state, jnp.round(action[0]), params)


def ends(env, action, steps=8, limit=6):
    """What a batch of two does under one action: observations before resets, rewards, both kinds of ends."""
    episodes = envs.Episodes(env, 2, limit)

    def step(state, _):
        state, out = episodes.step(state, jnp.broadcast_to(action, (2, *episodes.space.example.shape)))
        return state, (out.final_obs, out.reward, out.terminated, out.truncated)

    first = episodes.reset(jax.random.key(0))
    return (
        episodes,
        first,
        jax.tree.map(np.asarray, jax.jit(lambda s: jax.lax.scan(step, s, None, length=steps)[1])(first)),
    )


@pytest.mark.parametrize("kind", [Line, Later, Outer])
def test_gymnax_before_and_since_1_0(kind):
    env = envs.check_given(kind(), 6)
    assert isinstance(env, envs.Gymnax) and env.observation_shape == (2, 3) and env.observation_size == 6
    episodes, first, (obs, reward, terminated, truncated) = ends(env, jnp.int32(1))
    assert episodes.space == envs.Discrete(2) and episodes.observation_shape == (2, 3)
    start = np.asarray(first.obs).argmax(1)
    for i in range(2):
        goal = 4 - start[i] - 1  # the step that arrives, later than the environment's own limit
        assert goal >= LIMIT - 1 and terminated[goal, i] and not terminated[:goal, i].any()
        assert obs[goal, i].argmax() == 4 and reward[goal, i] == 4
        assert (obs[: goal + 1, i].argmax(1) == start[i] + 1 + np.arange(goal + 1)).all()
    assert not truncated.any() and 2 > len(set(start)) - 1


def test_the_time_limit_is_ours():
    _, _, (_, _, terminated, truncated) = ends(envs.check_given(Line(), 6), jnp.int32(0))
    assert not terminated.any() and truncated.tolist() == [[i == 5] * 2 for i in range(8)]


def test_continuous_actions_are_scaled_to_their_bounds():
    env = foreign.Gymnax(Real())
    assert envs.space_of(env) == envs.Box(1)
    state = env.reset(jax.random.PRNGKey(1))
    at = int(state.pipeline_state.inner.place)
    moves = [int(env.step(state, jnp.array([a])).pipeline_state.inner.place) - at for a in (-1.0, 0.0, 1.0, 5.0)]
    assert moves == [-2, 1, 4, 4]


@struct.dataclass
class Board:
    observation: jax.Array
    rewards: jax.Array
    terminated: jax.Array
    truncated: jax.Array
    count: jax.Array


class Game:
    """pgx's interface: states carry all, ``step`` takes a key and never resets."""

    num_players, num_actions, observation_shape = 1, 3, (2, 2)

    def init(self, key):
        return Board(jnp.zeros((2, 2), bool), jnp.zeros(1), jnp.array(False), jnp.array(False), jnp.int32(0))

    def step(self, state, action, key=None):
        lucky = jax.random.uniform(key) < 0.5
        count = state.count + 1
        lit = jnp.ones((2, 2), bool) & lucky
        return Board(lit, (action == 2).astype(jnp.float32)[None], count >= 4, state.truncated, count)


def test_pgx():
    env = envs.check_given(Game(), 9)
    assert isinstance(env, envs.Pgx)
    episodes, _, (obs, reward, terminated, truncated) = ends(env, jnp.int32(2), limit=9)
    assert episodes.space == envs.Discrete(3) and episodes.observation_shape == (2, 2)
    assert terminated.tolist() == [[i % 4 == 3] * 2 for i in range(8)] and not truncated.any()
    assert (reward == 1).all() and set(obs.mean(-1).ravel().tolist()) == {0.0, 1.0}, "luck is drawn anew"


def test_what_cannot_be_taken_is_refused_in_one_line():
    class Wrapper(Line):
        _env = Line()

    class Duel(Game):
        num_players = 2

    class Infinite(Interval):
        high = jnp.inf

    class Far(Real):
        space = Infinite

    class Hidden(Outer):
        def __init__(self):
            super().__init__()
            self.step = Line().step

    for made, said in (
        (Wrapper, "the environment within it"),
        (Duel, "a game of one player; this has 2"),
        (Far, "finite bounds"),
        (Hidden, "final_observation"),
    ):
        with pytest.raises(UserError) as caught:
            envs.check_given(made(), 5)
        assert said in str(caught.value) and "\n" not in str(caught.value)
    with pytest.raises(UserError, match="a time limit"):
        envs.check_given(Line(), None)


def test_a_registered_one_has_options(request):
    before = ENVS.snapshot()
    request.addfinalizer(lambda: ENVS.restore(before))

    def line(goal: int = 5):
        """A line of gymnax's interface."""
        return envs.Gymnax(Line(), Params(goal=goal))

    envs.register("a_line", line, episode_length=6)
    assert envs.make("ALine(goal=3)").params.goal == 3 and envs.make("a_line").params.goal == 5
    assert envs.default_episode_length("a_line(goal=3)") == 6
    with pytest.raises(UserError, match=r"gaol.*nearest: goal"):
        envs.make("a_line(gaol=3)")


MINATAR = {"asterix": (4, 5), "breakout": (4, 3), "freeway": (7, 3), "seaquest": (10, 6), "space_invaders": (6, 4)}


@pytest.mark.skipif(importlib.util.find_spec("pgx_minatar") is None, reason="the extra minatar is not installed")
@pytest.mark.parametrize("game", MINATAR)
def test_minatar_runs(game):
    channels, actions = MINATAR[game]
    env = envs.make(f"minatar/{game}")
    episodes, _, (obs, reward, _, _) = ends(env, jnp.int32(1), limit=20)
    assert episodes.observation_shape == (10, 10, channels) and episodes.space == envs.Discrete(actions)
    assert np.isin(obs, (0.0, 1.0)).all() and np.isfinite(reward).all()
    assert envs.make(f"minatar/{game}(minimal=false, sticky=0)").action_size == 6


def test_minatar_missing_is_said_so(monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(UserError, match=r"pgx is not installed; the extra: jaxpsn\[minatar\]"):
        envs.make("minatar/breakout")
