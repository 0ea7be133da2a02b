"""Cells: where an observation falls, and that every task has them."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxpsn import envs


def test_a_grid_counts_places_as_numpy_does():
    cells = envs.cells(envs.make("sparse_mountain_car"), 2)
    obs = np.random.default_rng(0).uniform((-3, -5), (1, 5), (200, 2)).astype(np.float32)
    low, high = np.array((-2.0, -4.0)), np.array((0.6, 4.0))
    place = np.clip(np.floor((obs - low) / (high - low) * 32), 0, 31).astype(int)
    np.testing.assert_array_equal(cells.index(jnp.asarray(obs)), place[:, 0] * 32 + place[:, 1])
    assert cells.count == 32 * 32


def test_angles_are_told_modulo_a_turn():
    cells = envs.cells(envs.make("sparse_cartpole_swingup"), 4)
    obs = jnp.array((0.1, 0.2, 0.3, 0.4))
    turned = obs.at[2].add(4 * jnp.pi)
    assert cells.index(obs) == cells.index(turned) != cells.index(obs.at[2].add(jnp.pi))


@pytest.mark.parametrize(
    "name",
    [
        "sparse_mountain_car",
        "sparse_mountain_car_light",
        "cartpole_swingup",
        "sparse_cartpole_swingup_light",
        "sparse_double_pendulum",
        "sparse_double_pendulum_light",
        "swimmer_gather",
        "halfcheetah",
    ],
)
def test_every_observation_has_a_cell(name):
    episodes = envs.Episodes(envs.make(name), 1, 10)
    cells = envs.cells(episodes.env, episodes.observation_size)
    obs = 30 * jax.random.normal(jax.random.key(0), (4, 500, episodes.observation_size))
    index = np.asarray(cells.index(obs))
    assert index.shape == (4, 500) and index.min() >= 0 and index.max() < cells.count
    assert len(np.unique(index)) > 50


def test_the_hash_is_the_signs_of_fixed_projections():
    one, other = (envs.cells(envs.make("halfcheetah"), 17) for _ in range(2))
    obs = jax.random.normal(jax.random.key(1), (64, 17))
    np.testing.assert_array_equal(one.index(obs), other.index(obs))
    np.testing.assert_array_equal(one.index(obs), one.index(7 * obs))
    np.testing.assert_array_equal(one.index(-obs), one.count - 1 - one.index(obs))
