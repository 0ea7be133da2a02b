"""What agents, colours and bonuses remember: all of it is in the state, it goes through a checkpoint to the last bit,
and seeds in one program know nothing of each other."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxpsn.control import program
from jaxpsn.control.config import ControlConfig, EnvConfig
from jaxpsn.run.checkpoints import Store, digest

_OFF = "batch_size=32, updates=1, warmup=64, replay_capacity=4096"
_ROLL = "rollout=5, minibatches=2, epochs=2"
_NOVEL = "(hidden=8, features=4)"
_GREEDY = "parameter(probes=4) + epsilon_greedy(0.1)"
CASES = {  # agent, exploration, bonus, task
    "sac": (
        f"sac(network=xqc, scale_rewards=true, return_bound=5, critic=c51, n_step=2, {_OFF}, actor_hidden=16, "
        "critic_hidden=16)",
        "parameter(hold=pink, distance=kl, scale=first_order(exponent=0.5))",
        f"drnd{_NOVEL}",
        "probe/observation_action",
    ),
    "td3": (
        f"td3(network=hyperspherical(expansion=2), critic=hl_gauss, {_OFF}, actor_hidden=16, critic_hidden=16)",
        "parameter(structure=lowrank(rank=2), hold=colored(beta=0.5)) + ou",
        "reward_noise",
        "probe/observation_action",
    ),
    "dqn": (f"dqn(hidden=16, critic=c51, n_step=3, {_OFF})", _GREEDY, f"rnd{_NOVEL}", "probe/observation_choice"),
    "pqn": (f"pqn(hidden=16, {_ROLL})", _GREEDY, "counts", "probe/observation_choice"),
    "ppo": (
        f"ppo(actor_hidden=16, critic_hidden=16, {_ROLL})",
        "followers(groups=4)",
        "rnd(hidden=8, features=4, ladder=4)",
        "probe/observation_action",
    ),
}
CUT, REST = 13, 9
"""Vector steps before and after the checkpoint, which lies within a rollout."""


_SLOW = ("td3", "pqn")  # of the long checks


@pytest.mark.parametrize("name", [pytest.param(one, marks=[pytest.mark.slow] * (one in _SLOW)) for one in CASES])
def test_it_goes_on_from_a_checkpoint_to_the_last_bit(name, tmp_path):
    agent, explore, bonus, task = CASES[name]
    made = program.make(ControlConfig(EnvConfig(name=task, num_envs=8), agent, explore, 4, bonus=bonus), 100)
    axes = made.axes(jax.eval_shape(made.init, jax.random.key(0), made.hyper))
    begin = jax.jit(jax.vmap(lambda key: made.init(key, made.hyper), out_axes=axes))
    step = jax.jit(jax.vmap(lambda state: made.step(state)[0], in_axes=(axes,), out_axes=axes))

    def go(state, steps):
        for _ in range(steps):
            state = step(state)
        return state

    keys = jax.vmap(jax.random.key)(jnp.arange(2, dtype=jnp.uint32))
    cut = go(begin(keys), CUT)
    whole = go(cut, REST)
    store = Store(tmp_path, 1)
    store.save(CUT, cut, {})
    store.wait()
    again = go(store.restore(jax.eval_shape(begin, keys)).state, REST)
    assert digest(cut) != digest(whole) == digest(again)
    assert whole.bonus is not None and (whole.gauge is not None) == (name == "sac")

    def turned(leaf, axis):
        return leaf if axis is None else leaf[::-1]

    other = jax.tree.map(turned, go(begin(keys[::-1]), CUT + REST), axes, is_leaf=lambda leaf: leaf is None)
    ours, theirs = jax.tree.leaves(whole), jax.tree.leaves(other)
    for one, two in zip(ours, theirs, strict=True):
        one, two = (jax.random.key_data(x) if jnp.issubdtype(x.dtype, jax.dtypes.prng_key) else x for x in (one, two))
        np.testing.assert_array_equal(one, two)
