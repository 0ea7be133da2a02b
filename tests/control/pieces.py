"""Pieces of one's own, each the text of one file, as a user would write them."""

PIECES = {
    "agent": '''
from dataclasses import dataclass

from jaxpsn.control.agents import AGENTS, ActorCritic, ddpg, learner
from jaxpsn.core import Positive


@AGENTS.register("scaled")
@dataclass(frozen=True)
class Scaled(ActorCritic):
    """DDPG on scaled rewards."""

    reward_scale: Positive = 2.0
    """Factor on the rewards."""

    def build(self, observation_size, action_size, learnt=None):
        return learner.learner(self, (observation_size, action_size), learnt, update, critics=1)


def update(parts, key, state, batch, hyper, count):
    config, nets, rule, noisy = parts
    batch = batch.replace(reward=config.reward_scale * batch.reward)
    keys = learner.purposes(key, noisy)
    target = ddpg.critic_target(config, nets, state, batch, keys.target)
    state, told = learner.critic_step(nets, rule, state, batch, target, hyper["critic_lr"], config.critic_l2)
    state, loss = learner.actor_step(nets, rule, state, batch.obs, hyper["actor_lr"], keys.online)
    return learner.follow(state, config.tau), told | {"actor_loss": loss}
''',
    "behaviour": '''
from dataclasses import dataclass

import jax
import jax.numpy as jnp

from jaxpsn.control.exploration import EXPLORATION, Behaviour, BehaviourFunctions
from jaxpsn.core import NonNegative, Traced, Tune


@EXPLORATION.register("offset")
@dataclass(frozen=True)
class Offset(Behaviour):
    """An offset of the action for each environment, drawn at its episode start."""

    tune = Tune("size", (0.1, 0.2))
    size: Traced[NonNegative] = 0.3
    """Standard deviation of the offset."""

    def build(self, policy, params, space):
        def draw(key):
            return jax.random.normal(key, (space.num_envs, space.action_size), jnp.float32)

        def init(key, params, hyper):
            return {"offset": draw(key), "size": hyper["size"]}

        def act(params, state, obs):
            return policy(params, obs) + state["size"] * state["offset"]

        def begin(key, state, done):
            return state | {"offset": jnp.where(done[:, None], draw(key), state["offset"])}

        return BehaviourFunctions(init, act, begin)
''',
    "noise": '''
from dataclasses import dataclass

import jax
import jax.numpy as jnp

from jaxpsn.control.exploration import EXPLORATION, ActionNoise, NoiseFunctions
from jaxpsn.core import NonNegative, Traced


@EXPLORATION.register("uniform")
@dataclass(frozen=True)
class Uniform(ActionNoise):
    """Uniform noise of actions."""

    width: Traced[NonNegative] = 0.2
    """It lies within plus or minus this."""

    def build(self, space):
        def sample(key, state):
            shape = (space.num_envs, space.action_size)
            return state * jax.random.uniform(key, shape, jnp.float32, -1.0, 1.0), state

        return NoiseFunctions(lambda key, hyper: hyper["width"], sample, lambda key, state, done: state)
''',
    "structure": '''
from dataclasses import dataclass

import jax.numpy as jnp

from jaxpsn.noise import Dense
from jaxpsn.noise.structures import STRUCTURES


@STRUCTURES.register("signs")
@dataclass(frozen=True)
class Signs(Dense):
    """Dense noise of random signs."""

    def state(self, leaf, key, negate):
        drawn = super().state(leaf, key, negate)
        return {"noise": jnp.sign(drawn["noise"])}
''',
    "hold": '''
from dataclasses import dataclass

from jaxpsn.core import Count
from jaxpsn.noise import every
from jaxpsn.noise.hold_rules import HOLDS, HoldRule


@HOLDS.register("pairs")
@dataclass(frozen=True)
class Pairs(HoldRule):
    """Noise is held for pairs of decisions."""

    pairs: Count = 1
    """How many."""

    def build(self):
        return every(2 * self.pairs)
''',
    "scale": '''
from dataclasses import dataclass

from jaxpsn.core import Positive
from jaxpsn.noise import scheduled
from jaxpsn.noise.scale_rules import SCALES, ScaleRule


@SCALES.register("halving")
@dataclass(frozen=True)
class Halving(ScaleRule):
    """Sigma halves every few updates."""

    life: Positive = 10.0
    """Updates in which it halves."""

    def build(self, start, run):
        return scheduled(lambda count: start * 0.5 ** (count.astype("float32") / self.life))
''',
    "environment": '''
import jax
import jax.numpy as jnp

from jaxpsn import envs
from jaxpsn.envs.brax_api import Env, State


class Line(Env):
    """Keep a point near the origin of a line."""

    observation_size = action_size = 1
    backend, dt = "own", 0.05

    def reset(self, rng):
        place = jax.random.uniform(rng, (1,), jnp.float32, -1.0, 1.0)
        return State(None, place, jnp.zeros(()), jnp.zeros(()))

    def step(self, state, action):
        place = state.obs + 0.1 * action
        return state.replace(obs=place, reward=-jnp.abs(place[0]))


envs.register("line", Line, episode_length=20)
''',
    "bonus": '''
from dataclasses import dataclass

from jaxpsn.control.bonus import BONUSES, Bonus, BonusFunctions
from jaxpsn.core import Positive, Traced


@BONUSES.register("gift")
@dataclass(frozen=True)
class Gift(Bonus):
    """The same for every step."""

    size: Traced[Positive] = 0.1

    def build(self, space):
        def observe(key, size, row):
            return size, row.replace(reward=row.reward + size), {"gift": size}

        return BonusFunctions(lambda key, hyper: hyper["size"], observe)
''',
}
BONUS = "gift(size=0.25)"
EXPLORE = "parameter(structure=signs, hold=pairs, scale=halving(life=4), sigma=0.1) + uniform(width=0.1)"
AGENT = (
    "scaled(reward_scale=3, actor_hidden=8, critic_hidden=8, batch_size=16, updates=1, replay_capacity=400, warmup=40)"
)


def write(folder):
    """The pieces as files; returns the flags that load them."""
    flags = []
    for name, text in PIECES.items():
        path = folder / f"{name}_piece.py"
        path.write_text(text)
        flags += ["--plugin", str(path)]
    return flags
