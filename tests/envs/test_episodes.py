"""Batches of episodes: ends apart, true last observations, resets that touch nobody else, one trace."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxpsn import envs
from jaxpsn.core.errors import UserError
from jaxpsn.envs import own, probes
from jaxpsn.run.checkpoints.store import digest


class Counter(own.OwnEnv):
    """Counts its steps from a random start; ends where the action says so; reward 1 per step."""

    name, dt, episode_length, observation_dim = "counter", 1.0, 10, 2
    traces = 0

    def reset(self, rng):
        start = jax.random.uniform(rng, ())
        return self.begin(probes.ProbeState(jnp.stack((start, jnp.zeros_like(start)))))

    def step(self, state, action):
        type(self).traces += 1
        count = state.pipeline_state.value + jnp.array([0.0, 1.0])
        return self.advance(state, probes.ProbeState(count), 1.0, action[0] > 0.5).replace(done=1.0 * (action[0] > 0.5))

    def observe(self, physics):
        return physics.value


def run(episodes, actions, seed=0, **how):
    def step(state, action):
        state, out = episodes.step(state, action, **how)
        return state, (out, state.obs, state.age)

    return jax.jit(lambda key, actions: jax.lax.scan(step, episodes.reset(key), actions))(jax.random.key(seed), actions)


def test_a_time_limit_truncates_a_termination_terminates_and_wins():
    actions = np.zeros((5, 3, 1), np.float32)
    actions[2, 1], actions[4, 2] = 1, 1  # env 1 ends early, env 2 ends exactly at the limit
    _, (out, obs, age) = run(envs.Episodes(Counter(), 3, 5), actions)
    assert np.argwhere(out.terminated).tolist() == [[2, 1], [4, 2]]
    assert np.argwhere(out.truncated).tolist() == [[4, 0]]
    assert out.reward.dtype == out.final_obs.dtype == jnp.float32 and out.terminated.dtype == bool
    np.testing.assert_array_equal(age[-1], [0, 2, 0])
    np.testing.assert_array_equal(out.final_obs[2, 1, 1], 3)  # the last observation of the old episode
    np.testing.assert_array_equal(obs[2, 1, 1], 0)  # the first of the new one
    np.testing.assert_array_equal(out.final_obs[:2], obs[:2])  # no end, no difference


def test_without_restarts_first_episodes_are_the_same_and_nothing_begins_after_them():
    actions = np.zeros((8, 3, 1), np.float32)
    actions[2, 1] = 1  # env 1 ends early, the others at the limit
    episodes = envs.Episodes(Counter(), 3, 5)
    (_, (out, _, _)), (_, (bare, obs, age)) = (run(episodes, actions, restart=which) for which in (True, False))
    for env, end in enumerate((5, 3, 5)):
        for with_restarts, without in zip(jax.tree.leaves(out), jax.tree.leaves(bare), strict=True):
            np.testing.assert_array_equal(with_restarts[:end, env], without[:end, env])
    assert bare.reward[5:, 0].sum() == 0 and age[-1, 0] == 5  # over is over
    np.testing.assert_array_equal(obs[:, 0, 1], np.arange(1, 9))  # and no episode began


@pytest.mark.parametrize("reset", ["random", "cached"])
def test_a_reset_leaves_the_others_bit_for_bit_alone(reset):
    episodes = envs.Episodes(envs.make("sparse_cartpole_swingup_light"), 4, 100, reset=reset)
    actions = np.asarray(jax.random.uniform(jax.random.key(1), (40, 4, 1), minval=-1.0))
    wild = actions.copy()
    wild[:, 2] = 1.0  # env 2 runs off the rail
    _, (out, obs, _) = run(episodes, wild)
    _, (calm, calm_obs, _) = run(episodes, actions)
    assert out.terminated[:30, 2].any() and not calm.terminated[:30, 2].any()
    for a, b in ((obs, calm_obs), (out.reward, calm.reward), (out.final_obs, calm.final_obs)):
        np.testing.assert_array_equal(a[:, [0, 1, 3]], b[:, [0, 1, 3]])


def test_every_start_is_new_and_depends_on_key_environment_and_episode_only():
    ends = np.ones((6, 4, 1), np.float32)
    starts = np.asarray(run(envs.Episodes(Counter(), 4, 9), ends)[1][1][..., 0])
    assert len(np.unique(starts)) == 24
    again = np.asarray(run(envs.Episodes(Counter(), 4, 9), ends)[1][1][..., 0])
    np.testing.assert_array_equal(starts, again)
    other = np.asarray(run(envs.Episodes(Counter(), 4, 9), ends, seed=1)[1][1][..., 0])
    assert not np.intersect1d(starts, other).size
    slower = np.zeros((12, 4, 1), np.float32)
    slower[1::2] = 1  # the same episodes at half the pace
    np.testing.assert_array_equal(starts, np.asarray(run(envs.Episodes(Counter(), 4, 9), slower)[1][1])[1::2, :, 0])
    fewer = np.asarray(run(envs.Episodes(Counter(), 2, 9), ends[:, :2])[1][1][..., 0])
    np.testing.assert_array_equal(starts[:, :2], fewer)


def test_cached_starts_come_from_the_pool():
    episodes = envs.Episodes(Counter(), 8, 9, reset="cached", pool_size=5)
    state, (_, obs, _) = run(episodes, np.ones((30, 8, 1), np.float32))
    pool = np.asarray(state.pool.obs[:, 0])
    assert len(np.unique(pool)) == 5
    assert set(np.unique(obs[..., 0])) == set(pool), "all of it is used"


def test_batches_of_one_environment_trace_its_reset_once(monkeypatch):
    traces, reset = [], Counter.reset

    def counted(self, key):
        traces.append(key)
        return reset(self, key)

    monkeypatch.setattr(Counter, "reset", counted)
    first = envs.Episodes(Counter(), 4, 9)
    second = envs.Episodes(first.env, 2, 9, like=first)
    for batch in (first, second):
        jax.eval_shape(batch.reset, jax.random.key(0))
    assert len(traces) == 1


@pytest.mark.parametrize("sizes", [(32, 16), (3, 3)])
@pytest.mark.parametrize("reset", ["random", "cached"])
def test_start_states_made_together_are_those_made_apart(sizes, reset):
    batches = [envs.Episodes(Counter(), size, 9, reset=reset, pool_size=size) for size in sizes]
    keys = [jax.random.key(number) for number in range(2)]
    make = jax.jit(envs.together(*batches))
    for number, (batch, key) in enumerate(zip(batches, keys, strict=True)):
        made = make(jnp.int32(number), *(each.keys(own) for each, own in zip(batches, keys, strict=True)))
        assert digest(jax.jit(batch.reset)(key, made)) == digest(jax.jit(batch.reset)(key))


def test_action_repeat_stops_at_the_end_of_the_episode():
    episodes = envs.Episodes(Counter(), 2, 7, action_repeat=3)
    actions = np.zeros((3, 2, 1), np.float32)
    actions[1, 1] = 1  # ends at its first repeat
    _, (out, _, age) = run(episodes, actions)
    np.testing.assert_array_equal(out.reward, [[3, 3], [3, 1], [1, 3]])
    np.testing.assert_array_equal(out.final_obs[..., 1], [[3, 3], [6, 4], [7, 3]])
    np.testing.assert_array_equal(out.truncated, [[False, False], [False, False], [True, False]])
    np.testing.assert_array_equal(out.terminated, [[False, False], [False, True], [False, False]])
    np.testing.assert_array_equal(age, [[3, 3], [6, 0], [0, 3]])


def test_one_trace_under_jit_and_strong_types():
    episodes = envs.Episodes(Counter(), 2, 4)
    Counter.traces = 0
    step = jax.jit(episodes.step)
    state = jax.jit(episodes.reset)(jax.random.key(0))
    before = [(leaf.dtype, leaf.shape) for leaf in jax.tree.leaves(state)]
    for _ in range(6):
        state, _ = step(state, jnp.zeros((2, 1)))
    assert Counter.traces == 1 and step._cache_size() == 1
    assert [(leaf.dtype, leaf.shape) for leaf in jax.tree.leaves(state)] == before
    assert not any(getattr(leaf, "weak_type", False) for leaf in jax.tree.leaves(state))


def test_seeds_under_vmap_are_seeds_alone_and_resets_stay_a_branch():
    episodes = envs.Episodes(envs.make("sparse_mountain_car_light"), 3, 6)
    keys = jax.random.split(jax.random.key(5), 2)

    def play(key):
        def step(state, _):
            state, out = episodes.step(state, jnp.ones((3, 1)))
            return state, (state.obs, out.truncated)

        return jax.lax.scan(step, episodes.reset(key), None, length=8)[1]

    together = jax.jit(jax.vmap(play))(keys)
    for i, key in enumerate(keys):
        alone = jax.jit(play)(key)
        np.testing.assert_allclose(together[0][i], alone[0], atol=1e-6)
        np.testing.assert_array_equal(together[1][i], alone[1])
    states = jax.eval_shape(jax.vmap(episodes.reset), keys)
    text = str(jax.make_jaxpr(jax.vmap(episodes.step))(states, jnp.ones((2, 3, 1))))
    assert "cond[" in text


def test_nan_physics_is_passed_on():
    episodes = envs.Episodes(envs.make("sparse_cartpole_swingup_light"), 2, 9)
    _, (out, _, _) = run(episodes, np.full((2, 2, 1), np.nan, np.float32))
    assert np.isnan(out.final_obs).any(axis=-1).all() and not out.terminated.any()


@pytest.mark.parametrize(
    ("field", "options"),
    [
        ("num_envs", {"num_envs": 0}),
        ("episode_length", {"episode_length": 0}),
        ("action_repeat", {"action_repeat": 0}),
        ("reset", {"reset": "sometimes"}),
        ("pool_size", {"pool_size": 0}),
    ],
)
def test_bad_sizes_are_refused_by_field(field, options):
    with pytest.raises(UserError, match=rf"^env\.{field} = "):
        envs.Episodes(Counter(), **{"num_envs": 2, "episode_length": 5, **options})
