"""Every preset is a program that traces, on any machine."""

import jax
import jax.numpy as jnp
import pytest

from jaxpsn.control import program
from jaxpsn.control.agents import Generational
from jaxpsn.control.presets import PRESETS


@pytest.mark.parametrize("name", PRESETS)
def test_a_preset_steps_and_evaluates_abstractly(name):
    if PRESETS[name].env.name.startswith("minatar/"):
        pytest.importorskip("pgx_minatar")
    made = program.make(PRESETS[name], 100)
    state = jax.eval_shape(made.init, jax.random.key(0), made.hyper)
    after, metrics = jax.eval_shape(made.step, state)
    same = jax.tree.map(lambda a, b: a.shape == b.shape and a.dtype == b.dtype, state, after)
    assert jax.tree.all(same), "a step keeps shapes and types, so it compiles once"
    judged = "fitness" if isinstance(PRESETS[name].agent, Generational) else "critic_loss"
    assert {"return", "reward", "sigma", "distance", judged} <= metrics.keys()
    assert jax.tree.leaves(after.learner.actor)[0].dtype == jnp.float32, "weights stay float32"
    assert "eval_return" in jax.eval_shape(made.evaluate, jax.random.key(1), state)
