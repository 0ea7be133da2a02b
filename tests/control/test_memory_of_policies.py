"""What is not seen at once: a GRU over the last observations, in the loop and under noise."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import struct

from jaxpsn import envs, noise
from jaxpsn.control import program
from jaxpsn.control.agents import AGENTS
from jaxpsn.control.config import ControlConfig, EnvConfig
from jaxpsn.core import compat, errors
from jaxpsn.envs.brax_api import Env, State
from jaxpsn.envs.history import History
from jaxpsn.networks import Greedy, Values
from jaxpsn.networks.torso import TORSOS
from jaxpsn.noise.structures import STRUCTURES

KEY = jax.random.key(0)


@struct.dataclass
class Seen:
    """The cue, and the steps since it was shown."""

    cue: jax.Array
    age: jax.Array


class Recall(Env):
    """A cue of -1 or 1, then nothing; the third choice is to be that of the cue."""

    observation_size, action_size, backend, dt = 1, 2, "none", 1.0
    action_space = envs.Discrete(2)

    def reset(self, rng):
        cue = jnp.where(jax.random.bernoulli(rng), 1.0, -1.0).astype(jnp.float32)
        return State(Seen(cue, jnp.int32(0)), cue[None], jnp.float32(0), jnp.float32(0))

    def step(self, state, action):
        seen = state.pipeline_state
        last = seen.age == 2
        right = (action == 1) == (seen.cue > 0)
        reward, done = jnp.where(last & right, 1.0, 0.0), last.astype(jnp.float32)
        after = Seen(seen.cue, seen.age + 1)
        return state.replace(pipeline_state=after, obs=jnp.zeros(1), reward=reward, done=done)


def test_the_last_observations_are_shown_newest_first():
    task = History(Recall(), 3)
    assert (task.observation_size, task.observation_shape, task.action_size) == (3, (3, 1), 2)
    state = task.reset(KEY)
    cue, seen = state.pipeline_state.cue, []
    for _ in range(3):
        seen.append(np.asarray(state.obs))
        state = task.step(state, jnp.int32(1))
    np.testing.assert_array_equal(seen, float(cue) * np.array([[1, 1, 1], [0, 1, 1], [0, 0, 1]]))
    np.testing.assert_array_equal(state.obs, np.zeros(3))


def test_the_cell_is_flaxs_and_its_noise_that_of_formed_weights():
    import flax.linen as nn

    torso = TORSOS.make("gru(size=5, steps=4)").build("relu", True)
    policy = Greedy(Values(3, (5,), torso=torso, head_scale=0.5))
    params, obs = policy.actor.init(KEY, jnp.zeros(8)), jax.random.normal(KEY, (4, 6, 8))
    tree = params["params"]["torso"]
    theirs = {}
    for i, gate in enumerate("rzn"):
        part = jax.tree.map(lambda leaf, i=i: leaf[..., 5 * i : 5 * i + 5], tree)
        kernel = {"kernel": part["cell"]["recurrent"]["kernel"]}
        theirs["h" + gate] = kernel | ({"bias": part["cell"]["recurrent"]["bias"]} if gate == "n" else {})
        theirs["i" + gate] = part["inputs"]
    carry = jnp.zeros((6, 5))
    with compat.foreign():
        for t in reversed(range(4)):
            carry, _ = nn.GRUCell(5).apply({"params": theirs}, carry, obs[0].reshape(6, 4, 2)[:, t])
    np.testing.assert_allclose(torso.apply({"params": tree}, obs[0]), carry, atol=1e-5)
    spec = noise.plan(policy.raw, params, jax.ShapeDtypeStruct((6, 8), jnp.float32), noise.all_but_norms)
    assert not any(leaf.materialised for leaf in spec.leaves)
    kind = STRUCTURES.make("flipout")
    draw = kind.init(KEY, spec, 4)
    ours = jax.jit(noise.fused(policy.raw, spec, kind))(params, draw, jnp.float32(0.3), obs)
    own = jax.vmap(lambda i: kind.materialise(params, draw, jnp.float32(0.3), i))(jnp.arange(4))
    np.testing.assert_allclose(ours, jax.vmap(policy.raw)(own, obs), atol=1e-4)


AGENT = {
    "pqn": "pqn(torso=gru(size=16, steps=3), hidden=16, lr=1e-2, gamma=0.9, rollout=9, minibatches=3, epochs=2)",
    "dqn": "dqn(torso=gru(size=16, steps=3), hidden=16, lr=1e-2, gamma=0.9, batch_size=64, updates=2, warmup=64)",
}


def _made(agent):
    task = EnvConfig("recall", num_envs=16, episode_length=9)
    return program.make(
        ControlConfig(task, AGENT[agent], "parameter(target=0.1, probes=2)", eval_envs=32), env=Recall()
    )


@pytest.mark.parametrize("agent", AGENT)
def test_who_looks_back_is_shown_as_much_as_it_looks_at(agent):
    made = _made(agent)
    state = jax.eval_shape(made.init, KEY, made.hyper)
    after, _ = jax.eval_shape(made.step, state)
    assert after.envs.obs.shape == (16, 3) and after.replay.data.obs.shape[1:] == (16, 3)


@pytest.mark.slow
@pytest.mark.parametrize("agent", AGENT)
def test_what_was_seen_before_is_remembered(agent):
    made = _made(agent)

    def run(key):
        return jax.lax.scan(lambda s, _: (made.step(s)[0], None), made.init(key, made.hyper), None, length=450)[0]

    state = jax.jit(run)(KEY)
    assert float(jax.jit(made.evaluate)(KEY, state)["eval_return"]) == 1.0


def test_it_fits_ppo_and_images_and_refuses_what_it_cannot_look_at():
    images = "ppo(torso=gru(size=8, steps=2, encoder=cnn(channels=4, kernel=2, height=2, width=3)))"
    config = AGENTS.make(images)
    assert config.history == 2 and AGENTS.make("ppo").history == 1
    agent = config.build(2 * 12, 1)
    state = jax.eval_shape(agent.init, KEY, {}, {})
    for params in (state.actor, state.critic):
        torso = params["params"]["torso"]
        assert torso["encoder"]["conv_0"]["dense"]["kernel"].shape == (8, 4) and torso["inputs"]["kernel"].shape[0] == 8
    assert jax.eval_shape(agent.value, state.critic, jnp.zeros((5, 24))).shape == (5,)
    with pytest.raises(errors.UserError, match=r"gru.encoder = 'gru': a torso of one observation, such as cnn"):
        TORSOS.make("gru(encoder=gru)")
    with pytest.raises(errors.UserError, match=r"sac.torso = 'gru': unknown"):
        AGENTS.make("sac(torso=gru)")
