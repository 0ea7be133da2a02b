"""What a run has reached: first reward, states visited, distance of behaviour from the clean policy."""

from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np

from jaxpsn import envs
from jaxpsn.control import diagnosis, program
from jaxpsn.control.config import ControlConfig, EnvConfig

ENVS, WARMUP, STEPS = 4, 3, 40
CONFIG = ControlConfig(
    env=EnvConfig(name="sparse_mountain_car_light", num_envs=ENVS, episode_length=12),
    agent=f"td3(actor_hidden=8, critic_hidden=8, batch_size=16, replay_capacity={ENVS * 50}, warmup={ENVS * WARMUP})",
    explore="gaussian(std=0.3)",
    eval_envs=2,
    diagnose=True,
)


def run(config, steps=STEPS):
    made = program.make(config)
    state, step, history = made.init(jax.random.key(0), made.hyper), jax.jit(made.step), []
    for _ in range(steps):
        state, metrics = step(state)
        history.append(metrics)
    return made, state, history


def test_coverage_counts_the_distinct_cells_of_what_was_stored():
    made, state, history = run(CONFIG)
    visited = np.unique(made.cells.index(state.replay.data.next_obs[:STEPS]))
    np.testing.assert_array_equal(np.flatnonzero(state.diagnosis.visited), visited)
    coverage = [int(one["coverage"]) for one in history]
    assert coverage[-1] == len(visited) and coverage == sorted(coverage)


def test_action_distance_is_that_of_executed_and_clean_actions():
    _, _, history = run(CONFIG)
    totals, counts = zip(*(one["action_distance"] for one in history), strict=True)
    assert list(counts) == [0.0] * WARMUP + [1.0] * (STEPS - WARMUP)
    np.testing.assert_allclose(np.sqrt(np.mean(np.square(totals[WARMUP:]))), 0.3, rtol=0.15)
    _, _, history = run(replace(CONFIG, explore="none"))
    assert all(float(one["action_distance"][0]) == 0 for one in history)


def test_the_first_positive_reward_is_dated_once():
    cells = envs.Cells(2, lambda obs: jnp.zeros(obs.shape[:-1], jnp.int32))
    seen, obs = diagnosis.init(cells), jnp.zeros((3, 1))
    told = []
    for clock, rewards in enumerate(((0, -1, 0), (0, 0, 0), (0, 0, 2), (1, 1, 1)), start=1):
        seen = diagnosis.observe(seen, cells, obs, jnp.array(rewards, jnp.float32), jnp.int32(clock))
        told.append(float(diagnosis.report(seen, 10)["first_reward"]))
    assert np.isnan(told[:2]).all() and told[2:] == [30.0, 30.0]


def test_looking_changes_nothing():
    """Not to the last bit: the extra outputs change how XLA fuses."""
    _, state, _ = run(CONFIG, 12)
    _, plain, _ = run(replace(CONFIG, diagnose=False), 12)
    assert plain.diagnosis is None
    for one, other in zip(jax.tree.leaves(state.learner), jax.tree.leaves(plain.learner), strict=True):
        np.testing.assert_allclose(one, other, atol=1e-5)
