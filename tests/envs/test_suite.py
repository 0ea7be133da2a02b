"""dm_control's tasks through MuJoCo Playground beside dm_control: trajectories stored by original/suite.py.

Playground integrates with Euler's rule where dm_control takes Runge-Kutta, and rewards and observes the positions
before the last physics step; results/fidelity names all differences. Here: how far one step from an equal state may be
off, and that the reward is dm_control's once the positions are.
"""

import pathlib

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxpsn import envs
from jaxpsn.envs import brax_door

STORED = np.load(pathlib.Path(__file__).parent / "original" / "suite.npz")
# Largest error of positions (m, rad) and velocities after one step, and of a reward at equal positions.
TASKS = {
    "CartpoleSwingupSparse": (0.002, 0.005, 1e-6),
    "CartpoleSwingup": (0.002, 0.01, 5e-4),
    "PendulumSwingup": (0.004, 0.03, 1e-6),
    "AcrobotSwingupSparse": (0.02, 1.5, 1e-6),
}


@pytest.mark.parametrize(
    "name", ["CartpoleSwingupSparse", *(pytest.param(each, marks=pytest.mark.slow) for each in list(TASKS)[1:])]
)
def test_a_step_from_an_equal_state_is_close_to_dm_controls(name):
    from mujoco import mjx

    env = envs.make(f"playground/{name}")
    model = env.task.mjx_model
    state, action, reward = (STORED[f"{name}/{field}"] for field in ("state", "action", "reward"))
    size = env.task.mj_model.nq
    before, after = state[:, :-1].reshape(-1, state.shape[-1]), state[:, 1:].reshape(-1, state.shape[-1])

    with brax_door.tracing():
        begun = jax.jit(env.reset)(jax.random.key(0))

        def step(physics, action):
            data = begun.pipeline_state.replace(qpos=physics[:size], qvel=physics[size:])
            made = env.step(begun.replace(pipeline_state=mjx.forward(model, data)), action)
            fresh = mjx.forward(model, made.pipeline_state)
            again = env.task._get_reward(fresh, action, made.info, made.metrics)
            return jnp.concatenate((fresh.qpos, fresh.qvel)), again

        found, paid = jax.jit(jax.vmap(step))(jnp.asarray(before, jnp.float32), jnp.asarray(action).reshape(-1, 1))
    off = np.abs(np.asarray(found) - after)
    position, velocity, payment = TASKS[name]
    assert off[:, :size].max() < position and off[:, size:].max() < velocity
    # A threshold may lie between the two positions.
    wrong = np.abs(np.asarray(paid) - reward.reshape(-1)) > payment
    assert wrong.sum() <= 2 and reward.sum() > 20
