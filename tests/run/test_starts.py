"""Start states of the first state and of evaluations: one program makes both, and the run is the same."""

from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxpsn.control import program
from jaxpsn.control.config import ControlConfig, EnvConfig
from jaxpsn.run import cadence, chunk, exported, loop, progress
from jaxpsn.run.checkpoints.store import digest
from jaxpsn.run.config import RunConfig

CONFIG = ControlConfig(
    env=EnvConfig(name="probe/observation_reward", num_envs=16),
    agent="td3(actor_hidden=8, critic_hidden=8, batch_size=16, replay_capacity=160, warmup=16)",
    explore="gaussian",
    eval_envs=16,
)
BEFORE = np.int32(-1)


@pytest.mark.parametrize("seeds", [1, 2])
def test_a_run_whose_start_states_are_a_program_of_their_own_is_the_same(seeds, tmp_path):
    made, keys = program.make(CONFIG), chunk.seed_keys(3, seeds)
    starts, init, evaluate = (
        jax.jit(part(made, seeds)) for part in (chunk.make_starts, chunk.make_init, chunk.make_evaluate)
    )
    state = init(keys)
    assert digest(init(keys, starts(keys, BEFORE))) == digest(state)
    later = state.replace(clock=jnp.int32(7))
    alone = digest(evaluate(keys, later))
    assert digest(evaluate(keys, later, starts(keys, later.clock))) == alone
    others = jax.tree.map(jnp.ones_like, starts(keys, BEFORE))
    assert digest(evaluate(keys, later, others)) != alone, "it is those states that are judged"
    run = RunConfig(steps=64, chunk=64, eval_every=64, seed=3, seeds=seeds)
    for name in ("kept", "found") if seeds == 1 else (None,):
        shelf = name and exported.Shelf(tmp_path, "starts")
        if name == "found":
            shelf.begin(("starts", "init", "evaluation"))
        engine = loop.ready(made, run, shelf)
        engine.prepare(cadence.plan(run, made.steps_per_call), engine.template(), progress.Progress(), _nothing)
        assert digest(engine.init()) == digest(state)
        assert digest(jax.tree.map(jnp.asarray, engine.judge(later))) == alone
    assert len(list(tmp_path.iterdir())) == (4 if seeds == 1 else 0)


def _nothing(*_):
    """Told of what was compiled."""


def test_start_states_that_rounding_could_tell_apart_are_made_apart():
    assert program.make(replace(CONFIG, eval_envs=32)).starts is not None
    assert program.make(replace(CONFIG, eval_envs=20)).starts is None
