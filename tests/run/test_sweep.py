"""Sweeps: each run has its own hyper-parameter and its own seed, and is the run it would be alone."""

from dataclasses import replace

import jax
import numpy as np
import pytest

from jaxpsn.control import program
from jaxpsn.control.config import ControlConfig, EnvConfig
from jaxpsn.core.errors import UserError
from jaxpsn.run import chunk, sweep

CONFIG = ControlConfig(
    env=EnvConfig(name="probe/action", num_envs=4),
    agent="td3(actor_hidden=8, critic_hidden=8, batch_size=16, replay_capacity=400, warmup=8)",
    explore="gaussian",
    eval_envs=2,
)
VALUES, SEEDS, SEED = (0.1, 0.5), 2, 7


def test_a_run_of_a_sweep_is_that_run_alone():
    made = program.make(CONFIG)
    swept = sweep.over(made, "explore.std", VALUES, SEEDS)
    runs = len(VALUES) * SEEDS
    state = jax.jit(chunk.make_init(swept, runs))(chunk.seed_keys(SEED, runs))
    np.testing.assert_allclose(state.hyper["explore.std"], np.repeat(np.float32(VALUES), SEEDS))
    state, _ = jax.jit(chunk.make_chunk(swept, runs, 10))(state)
    for index in range(runs):
        alone = program.make(replace(CONFIG, explore=f"gaussian(std={VALUES[index // SEEDS]})"))
        one = jax.jit(chunk.make_init(alone, 1))(chunk.seed_keys(SEED + index, 1))
        one, _ = jax.jit(chunk.make_chunk(alone, 1, 10))(one)
        np.testing.assert_allclose(state.replay.data.action[index], one.replay.data.action, atol=1e-5)
    assert swept.steps_per_call == made.steps_per_call


def test_what_cannot_be_swept_is_refused():
    made = program.make(CONFIG)
    with pytest.raises(UserError, match=r"sweep = 'explore.sdt'.*explore.std"):
        sweep.over(made, "explore.sdt", VALUES, SEEDS)
    with pytest.raises(UserError, match="at least two runs"):
        sweep.over(made, "std", (0.1,), 1)
