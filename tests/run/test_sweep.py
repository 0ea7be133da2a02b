"""Sweeps: each run has its own hyper-parameter and its own seed, and is the run it would be alone."""

from dataclasses import replace

import jax
import numpy as np
import pytest

from jaxpsn.control import program
from jaxpsn.control.config import AgentConfig, ControlConfig, EnvConfig, ExplorationConfig
from jaxpsn.core.errors import UserError
from jaxpsn.run import chunk, sweep

CONFIG = ControlConfig(
    env=EnvConfig(name="probe/action", num_envs=4),
    agent=AgentConfig(actor_hidden=(8,), critic_hidden=(8,), batch_size=16),
    exploration=ExplorationConfig(rule="gaussian"),
    replay_capacity=400,
    warmup=8,
    eval_envs=2,
)
VALUES, SEEDS, SEED = (0.1, 0.5), 2, 7


def test_a_run_of_a_sweep_is_that_run_alone():
    made = program.make(CONFIG)
    swept = sweep.over(made, "action_std", VALUES, SEEDS)
    runs = len(VALUES) * SEEDS
    state = jax.jit(chunk.make_init(swept, runs))(chunk.seed_keys(SEED, runs))
    np.testing.assert_allclose(state.hyper.action_std, np.repeat(np.float32(VALUES), SEEDS))
    state, _ = jax.jit(chunk.make_chunk(swept, runs, 10))(state)
    for index in range(runs):
        exploration = replace(CONFIG.exploration, action_std=VALUES[index // SEEDS])
        alone = program.make(replace(CONFIG, exploration=exploration))
        one = jax.jit(chunk.make_init(alone, 1))(chunk.seed_keys(SEED + index, 1))
        one, _ = jax.jit(chunk.make_chunk(alone, 1, 10))(one)
        np.testing.assert_allclose(state.replay.data.action[index], one.replay.data.action, atol=1e-5)
    assert swept.steps_per_call == made.steps_per_call


def test_what_cannot_be_swept_is_refused():
    made = program.make(CONFIG)
    with pytest.raises(UserError, match=r"sweep = 'action_sdt'.*action_std"):
        sweep.over(made, "action_sdt", VALUES, SEEDS)
    with pytest.raises(UserError, match="at least two runs"):
        sweep.over(made, "action_std", (0.1,), 1)
